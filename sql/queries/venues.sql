-- The same pair on several venues and markets: each one's mid now, and how far it is from the mean of all, in basis points.
SELECT pair, exchange, market, symbol, mid, (mid / avg(mid) OVER (PARTITION BY pair) - 1) * 1e4 from_mean_bps, seconds_old
FROM (SELECT concat(i.base, '-', i.quote) pair, b.exchange exchange, b.market market, b.symbol symbol,
             mid(b.bids[1][1], b.asks[1][1]) mid, datediff('s', b.ts, now()) seconds_old
      FROM (SELECT * FROM orderbook WHERE ts > dateadd('h', -1, now()) LATEST ON ts PARTITION BY exchange, market, symbol) b
      JOIN (SELECT * FROM instruments LATEST ON ts PARTITION BY exchange, market, symbol) i ON (exchange, market, symbol))
WHERE mid > 0 ORDER BY pair, exchange, market, symbol;
