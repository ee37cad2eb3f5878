-- Streams that a collector does not record now: gaps without an end, longest first. After a clean stop every stream is here.
-- lost_since: since when nobody records the stream; empty: another collector does.
SELECT from_ts, exchange, market, symbol, channel, collector, cause, datediff('s', from_ts, now()) seconds, lost_since
FROM holes WHERE to_ts IS NULL ORDER BY from_ts;
