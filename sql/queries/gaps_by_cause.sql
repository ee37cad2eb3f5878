-- The last week's declared holes by cause and channel: how many, how long together, how many messages, how many repaired.
SELECT cause, channel, count() gaps, sum(datediff('T', from_ts, coalesce(to_ts, now()))) / 1000.0 seconds,
       sum(missing) missing, sum(CASE WHEN repaired THEN 1 ELSE 0 END) repaired
FROM gaps WHERE ts > dateadd('d', -7, now()) ORDER BY seconds DESC;
