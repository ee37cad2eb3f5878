-- Gaps in trades over the last week and how far REST filled them; "empty": not tried yet. Of how many another collector has every row
-- (elsewhere), and how many seconds nobody has.
DECLARE @since := dateadd('d', -7, now())
SELECT coalesce(repair, 'empty') repair, exchange, market, cause, count() gaps, sum(recovered) trades_recovered,
       sum(CASE WHEN kept_by = 'another collector' THEN 1 ELSE 0 END) elsewhere, sum(lost_s) lost_seconds, max(ts) newest
FROM holes WHERE channel = 'trades' AND to_ts IS NOT NULL AND ts > dateadd('d', -7, now()) ORDER BY repair, exchange, market, cause;
