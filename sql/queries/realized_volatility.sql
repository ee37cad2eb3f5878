-- Realized volatility over the last hour from one-minute returns, in percent a year.
SELECT exchange, market, symbol, sqrt(avg(r * r) * 525600) * 100 yearly_percent, count() minutes
FROM (SELECT exchange, market, symbol, ln(close / lag(close) OVER (PARTITION BY exchange, market, symbol ORDER BY ts)) r
      FROM ohlcv_1m WHERE ts > dateadd('h', -1, now()))
WHERE r IS NOT NULL ORDER BY yearly_percent DESC;
