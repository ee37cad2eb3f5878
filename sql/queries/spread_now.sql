-- Best bid, best ask and spread of every book, as of its last snapshot.
SELECT ts, exchange, market, symbol, bids[1][1] bid, asks[1][1] ask, spread_bps(bids[1][1], asks[1][1]) spread_bps
FROM orderbook WHERE ts > dateadd('h', -1, now()) LATEST ON ts PARTITION BY exchange, market, symbol;
