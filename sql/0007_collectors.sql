-- Several collectors may record the same streams: whose row it is. A collector is its journal, through restarts.
-- With it in the keys, holes that begin together don't overwrite one another.
ALTER TABLE gaps ADD COLUMN IF NOT EXISTS collector SYMBOL;
ALTER TABLE feed_events ADD COLUMN IF NOT EXISTS collector SYMBOL;
ALTER TABLE collector_stats ADD COLUMN IF NOT EXISTS collector SYMBOL;
ALTER TABLE gaps DEDUP ENABLE UPSERT KEYS(ts, exchange, market, symbol, channel, collector);
ALTER TABLE feed_events DEDUP ENABLE UPSERT KEYS(ts, exchange, market, symbol, channel, event, collector);
ALTER TABLE collector_stats DEDUP ENABLE UPSERT KEYS(ts, process, collector);
