-- What the programs say of themselves. Counters run from the start of the process; empty: not known.

ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS pss LONG;

-- Bytes that the control group allows (memory.max); 0: no limit.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS memory_limit LONG;

-- Collections of Python's garbage collector, by generation.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS gc_gen0 LONG;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS gc_gen1 LONG;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS gc_gen2 LONG;

-- Microseconds a message takes, of those timed since the row before: from bytes to items, and from items into the journal's batch.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS decode_p50_us DOUBLE;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS decode_p99_us DOUBLE;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS decode_max_us DOUBLE;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS handle_p50_us DOUBLE;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS handle_p99_us DOUBLE;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS handle_max_us DOUBLE;

ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS silences LONG;

-- Milliseconds since the receipt of the oldest row that QuestDB has not acknowledged; 0: none waits.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS journal_age_ms DOUBLE;

-- Transactions accepted and not yet applied, of the worst table; and how many tables are suspended.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS wal_lag LONG;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS wal_suspended INT;

-- Bytes free on the journal's disk, and on the server's where that is this machine's.
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS journal_disk_free LONG;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS server_disk_free LONG;

-- Every 10 s, one row a process, market and channel. bytes are of the messages; a message of several channels counts for the first.
CREATE TABLE IF NOT EXISTS stream_stats (
  ts TIMESTAMP, process SYMBOL, exchange SYMBOL, market SYMBOL, channel SYMBOL,
  messages LONG, rows LONG, bytes LONG, bad LONG, reconnects LONG, silences LONG
) TIMESTAMP(ts) PARTITION BY DAY WAL
DEDUP UPSERT KEYS(ts, process, exchange, market, channel);

-- Every start and every end of a process. event: started; stopped (by itself: it told the cause); crashed (told by the next start, ts is the
-- last sign of life). cause: of stopped SIGTERM, SIGINT, duration, error; of crashed killed, oom, watchdog, error, reboot; of started what the
-- end before it was: first, stopped, crashed.
CREATE TABLE IF NOT EXISTS process_events (
  ts TIMESTAMP, program SYMBOL, process SYMBOL, event SYMBOL, cause SYMBOL,
  pid INT, version VARCHAR, uptime_s DOUBLE, detail VARCHAR
) TIMESTAMP(ts) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(ts, program, process, event);
