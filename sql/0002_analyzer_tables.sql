-- Tables of the analyzer.

CREATE TABLE IF NOT EXISTS signals (
  ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096, window_s INT,
  analysis SYMBOL, metric SYMBOL, value DOUBLE, coverage DOUBLE, detail VARCHAR
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, window_s, analysis, metric);

CREATE TABLE IF NOT EXISTS analysis_runs (
  ts TIMESTAMP, run_id VARCHAR, analysis SYMBOL, window_from TIMESTAMP, window_to TIMESTAMP, started TIMESTAMP,
  took_ms DOUBLE, rows_read LONG, peak_rss LONG, status SYMBOL, error VARCHAR
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, run_id, analysis);

CREATE TABLE IF NOT EXISTS alerts (
  ts TIMESTAMP, rule SYMBOL, severity SYMBOL, state SYMBOL, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  value DOUBLE, message VARCHAR
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, rule, exchange, market, symbol);
