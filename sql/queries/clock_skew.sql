-- Receipt less event time per venue and hour over the last day, in ms: a median below 0 says that a clock is wrong.
SELECT ts, exchange, min(ms) least, approx_percentile(greatest(ms, 0.0), 0.5, 3) median_from_0, max(ms) most,
       sum(CASE WHEN ms < 0 THEN 1 ELSE 0 END) / count()::double negative_share
FROM (SELECT ts, exchange, (recv_ts - ts) / 1000.0 ms FROM trades WHERE ts > dateadd('d', -1, now())) SAMPLE BY 1h;
