-- The last hour's premium of mark and of last price over the index, in basis points, per five minutes.
SELECT ts, exchange, market, symbol, (avg(mark / index) - 1) * 1e4 mark_bps, (avg(last / index) - 1) * 1e4 last_bps
FROM tickers WHERE ts > dateadd('h', -1, now()) AND index > 0 SAMPLE BY 5m ORDER BY ts, exchange, market, symbol;
