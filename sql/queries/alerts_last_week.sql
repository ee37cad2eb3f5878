-- How often each alert fired over the last week, and when it did last.
SELECT rule, severity, exchange, market, symbol, count() times, max(ts) newest
FROM alerts WHERE state = 'firing' AND ts > dateadd('d', -7, now()) ORDER BY newest DESC;
