-- Spread in basis points per minute over the last hour: mean, 95th percentile, worst.
SELECT ts, exchange, market, symbol, avg(bps) mean, approx_percentile(bps, 0.95, 3) p95, max(bps) worst, count() books
FROM (SELECT ts, exchange, market, symbol, spread_bps(bids[1][1], asks[1][1]) bps FROM orderbook
      WHERE ts > dateadd('h', -1, now()) AND bids[1][1] < asks[1][1])
SAMPLE BY 1m ORDER BY ts, exchange, market, symbol;
