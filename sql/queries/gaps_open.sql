-- Streams that are not recorded now: gaps without an end, longest first. After a clean stop every stream is here.
SELECT from_ts, exchange, market, symbol, channel, cause, datediff('s', from_ts, now()) seconds
FROM gaps WHERE to_ts IS NULL ORDER BY from_ts;
