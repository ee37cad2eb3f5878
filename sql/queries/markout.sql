-- Where the mid went 1, 5 and 30 s after the last hour's trades of 100,000 quote units and more; positive: in the taker's direction.
SELECT t.exchange exchange, t.market market, t.symbol symbol, h.offset / 1000000 seconds_after, count() trades,
       avg(CASE WHEN t.side = 'buy' THEN 1.0 ELSE -1.0 END * (mid(b.bids[1][1], b.asks[1][1]) / t.price - 1) * 1e4) markout_bps
FROM (SELECT * FROM trades WHERE ts > dateadd('h', -1, now()) AND price * qty >= 100000 AND side IS NOT NULL) AS t
HORIZON JOIN orderbook AS b ON (exchange, market, symbol)
LIST (0s, 1s, 5s, 30s) AS h
ORDER BY exchange, market, symbol, seconds_after;
