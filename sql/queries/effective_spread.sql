-- What takers paid over the last hour: twice the distance from the mid just before, in basis points, weighted by notional.
SELECT exchange, market, symbol, count() trades, sum(notional * bps) / sum(notional) effective_bps, avg(quoted_bps) quoted_bps
FROM (SELECT t.exchange exchange, t.market market, t.symbol symbol, t.price * t.qty notional,
             2 * abs(t.price / mid(b.bids[1][1], b.asks[1][1]) - 1) * 1e4 bps,
             spread_bps(b.bids[1][1], b.asks[1][1]) quoted_bps
      FROM (SELECT * FROM trades WHERE ts > dateadd('h', -1, now())) t
      ASOF JOIN (SELECT * FROM orderbook WHERE ts > dateadd('h', -2, now())) b ON (exchange, market, symbol) TOLERANCE 5s)
WHERE bps IS NOT NULL;
