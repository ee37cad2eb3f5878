-- Every declared hole of the last day: which stream, how long, why, and whether REST repaired it. No to_ts: still open.
SELECT from_ts, to_ts, datediff('T', from_ts, coalesce(to_ts, now())) / 1000.0 seconds,
       exchange, market, symbol, channel, collector, cause, missing, repaired
FROM gaps WHERE ts > dateadd('d', -1, now()) ORDER BY from_ts;
