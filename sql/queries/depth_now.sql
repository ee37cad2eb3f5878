-- Depth within 10 basis points of the mid in every book now, in base and quote units, and which side is heavier (−1 to 1).
SELECT ts, exchange, market, symbol, bid_depth, ask_depth, bid_depth * mid bid_notional, ask_depth * mid ask_notional,
       (bid_depth - ask_depth) / (bid_depth + ask_depth) imbalance
FROM (SELECT ts, exchange, market, symbol, mid(bids[1][1], asks[1][1]) mid,
             coalesce(array_sum(bids[2, 1:insertion_point(bids[1], mid(bids[1][1], asks[1][1]) * 0.999)]), 0.0) bid_depth,
             coalesce(array_sum(asks[2, 1:insertion_point(asks[1], mid(bids[1][1], asks[1][1]) * 1.001)]), 0.0) ask_depth
      FROM orderbook WHERE ts > dateadd('h', -1, now()) LATEST ON ts PARTITION BY exchange, market, symbol);
