-- What it would cost to buy or sell 100,000 quote units at once, in basis points from the mid. Empty: the book is too thin.
DECLARE @notional := 100000
SELECT ts, exchange, market, symbol, mid, (l2price(@notional / mid, asks[2], asks[1]) / mid - 1) * 1e4 buy_bps,
       (1 - l2price(@notional / mid, bids[2], bids[1]) / mid) * 1e4 sell_bps
FROM (SELECT ts, exchange, market, symbol, bids, asks, mid(bids[1][1], asks[1][1]) mid
      FROM orderbook WHERE ts > dateadd('h', -1, now()) LATEST ON ts PARTITION BY exchange, market, symbol);
