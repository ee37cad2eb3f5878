-- Streams that a collector does not record now: gaps without an end, longest first. After a clean stop every stream is here;
-- with several collectors another one may record it.
SELECT from_ts, exchange, market, symbol, channel, collector, cause, datediff('s', from_ts, now()) seconds
FROM gaps WHERE to_ts IS NULL ORDER BY from_ts;
