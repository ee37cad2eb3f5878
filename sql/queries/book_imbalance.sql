-- Which side of the best five levels is heavier, per minute over the last hour: 1 all bids, −1 all asks.
SELECT ts, exchange, market, symbol, avg((bids - asks) / (bids + asks)) imbalance, count() books
FROM (SELECT ts, exchange, market, symbol, array_sum(bids[2, 1:6]) bids, array_sum(asks[2, 1:6]) asks
      FROM orderbook WHERE ts > dateadd('h', -1, now()))
SAMPLE BY 1m ORDER BY ts, exchange, market, symbol;
