-- Books of the last hour whose best bid reached the best ask, and those with an empty side, as shares.
SELECT exchange, market, symbol, count() books, sum(CASE WHEN bid >= ask THEN 1 ELSE 0 END) / count()::double crossed_share,
       sum(CASE WHEN bid IS NULL OR ask IS NULL THEN 1 ELSE 0 END) / count()::double one_sided_share
FROM (SELECT exchange, market, symbol, bids[1][1] bid, asks[1][1] ask FROM orderbook WHERE ts > dateadd('h', -1, now()))
ORDER BY crossed_share DESC, exchange, market, symbol;
