-- Every declared gap of the last day: which stream, how long, why, how many seconds of it nobody has, and who has its rows, another collector
-- or REST. No to_ts: still open.
DECLARE @since := dateadd('d', -1, now())
SELECT from_ts, to_ts, seconds, lost_s, kept_by, exchange, market, symbol, channel, collector, cause, missing, repaired
FROM holes WHERE ts > dateadd('d', -1, now()) ORDER BY from_ts;
