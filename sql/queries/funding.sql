-- Funding rate now, in basis points per interval, and what it would be a year at three intervals a day.
SELECT ts, exchange, market, symbol, funding_rate * 1e4 funding_bps, funding_rate * 3 * 365 * 100 yearly_percent, next_funding_ts
FROM (SELECT * FROM tickers WHERE ts > dateadd('d', -1, now()) LATEST ON ts PARTITION BY exchange, market, symbol)
WHERE funding_rate IS NOT NULL ORDER BY abs(funding_rate) DESC;
