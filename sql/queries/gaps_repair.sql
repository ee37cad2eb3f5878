-- Holes in trades over the last week and how far REST filled them; "empty": not tried yet.
SELECT coalesce(repair, 'empty') repair, exchange, market, cause, count() gaps, sum(recovered) trades_recovered, max(ts) newest
FROM gaps WHERE channel = 'trades' AND to_ts IS NOT NULL AND ts > dateadd('d', -7, now()) ORDER BY repair, exchange, market, cause;
