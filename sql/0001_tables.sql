-- Tables of the collector. TIMESTAMP is microseconds, UTC. `ts` is the exchange's event time, `recv_ts` the time of receipt.
-- Statements end with a semicolon at the end of a line. TTLs are set from the configuration after the migrations.

CREATE TABLE IF NOT EXISTS trades (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  side SYMBOL, price DOUBLE, qty DOUBLE, trade_id VARCHAR
) TIMESTAMP(ts) PARTITION BY HOUR WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, trade_id);

CREATE TABLE IF NOT EXISTS orderbook (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  bids DOUBLE[][], asks DOUBLE[][], seq LONG
) TIMESTAMP(ts) PARTITION BY HOUR WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, seq);

CREATE TABLE IF NOT EXISTS liquidations (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  side SYMBOL, price DOUBLE, qty DOUBLE, liq_id VARCHAR
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, liq_id);

CREATE TABLE IF NOT EXISTS tickers (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096,
  last DOUBLE, mark DOUBLE, index DOUBLE, funding_rate DOUBLE, next_funding_ts TIMESTAMP,
  open_interest DOUBLE, bid DOUBLE, ask DOUBLE
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol);

CREATE TABLE IF NOT EXISTS gaps (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096, channel SYMBOL,
  from_ts TIMESTAMP, to_ts TIMESTAMP, cause SYMBOL, missing LONG, repaired BOOLEAN
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, channel);

CREATE TABLE IF NOT EXISTS feed_events (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 4096, channel SYMBOL,
  event SYMBOL, detail VARCHAR
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol, channel, event);

CREATE TABLE IF NOT EXISTS collector_stats (
  ts TIMESTAMP, process SYMBOL, rss LONG, swap LONG, cpu DOUBLE, threads INT, fds INT,
  messages LONG, rows LONG, bad_messages LONG, gaps LONG, reconnects LONG,
  journal_bytes LONG, journal_pending_bytes LONG, lag_ms DOUBLE, loop_lag_ms DOUBLE, dead_letters LONG
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, process);
