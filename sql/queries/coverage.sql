-- How much of the last day's windows was really recorded: mean and worst per instrument and channel.
SELECT exchange, market, symbol, metric, avg(value) mean, min(value) worst, count() windows
FROM signals WHERE analysis = 'coverage' AND ts > dateadd('d', -1, now())
ORDER BY worst, exchange, market, symbol, metric;
