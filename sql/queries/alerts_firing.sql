-- Alerts that are firing now, worst first.
SELECT ts since, severity, rule, exchange, market, symbol, value, message
FROM (SELECT * FROM alerts LATEST ON ts PARTITION BY rule, exchange, market, symbol)
WHERE state = 'firing' ORDER BY severity, ts;
