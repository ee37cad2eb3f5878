-- What became of each message about an alert: one row an attempt and target. alert_ts, rule, exchange, market and symbol name the
-- row of `alerts`. target is a scheme and a mark, never the address. outcome: delivered or failed.
CREATE TABLE IF NOT EXISTS alert_deliveries (
  ts TIMESTAMP, alert_ts TIMESTAMP, rule SYMBOL, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  state SYMBOL, target SYMBOL, outcome SYMBOL, attempts INT, error VARCHAR
) TIMESTAMP(ts) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(ts, alert_ts, rule, exchange, market, symbol, target);
