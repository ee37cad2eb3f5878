-- From the exchange's event time to receipt, in milliseconds, per minute over the last hour: median, 99th percentile, worst.
-- The clocks differ: receipt before the event counts as 0.
SELECT ts, exchange, approx_percentile(ms, 0.5, 3) p50, approx_percentile(ms, 0.99, 3) p99, max(ms) worst, count() trades
FROM (SELECT ts, exchange, greatest((recv_ts - ts) / 1000.0, 0.0) ms
      FROM trades WHERE ts > dateadd('h', -1, now())) SAMPLE BY 1m;
