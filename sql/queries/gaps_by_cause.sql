-- The last week's declared gaps by cause and channel: how many, how long together, how many seconds of that nobody has, how many messages,
-- how many REST repaired, and of how many another collector has every row (elsewhere).
DECLARE @since := dateadd('d', -7, now())
SELECT cause, channel, count() gaps, sum(seconds) seconds, sum(lost_s) lost_seconds, sum(missing) missing,
       sum(CASE WHEN repaired THEN 1 ELSE 0 END) repaired, sum(CASE WHEN kept_by = 'another collector' THEN 1 ELSE 0 END) elsewhere
FROM holes WHERE ts > dateadd('d', -7, now()) ORDER BY lost_seconds DESC, seconds DESC;
