-- The newest value of every number, with the share of its window that was really recorded.
SELECT ts, exchange, market, symbol, analysis, metric, window_s, value, coverage
FROM signals WHERE ts > dateadd('h', -1, now())
LATEST ON ts PARTITION BY exchange, market, symbol, window_s, analysis, metric;
