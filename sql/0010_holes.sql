-- Every row of gaps, and what of it no collector has: where several record the same stream, a gap of one is no hole if another has the rows.
-- A view: it stores nothing. It looks back 31 days, or as far as one says: DECLARE @since := dateadd('h', -1, now()) SELECT * FROM holes.
-- Gaps that ended before @since are left out, and lost is counted from @since on.
--   seconds     how long it is, until now where it is open
--   lost        whether anything of it is lost: no collector recorded the stream then, and REST did not repair it
--   lost_s      seconds of it that are lost
--   lost_since  of a gap that is open: since when nobody records the stream; null where another collector does
--   kept_by     in words: nobody, another collector (whole or in part), REST
-- A collector records from its first subscription on, except in its gaps, and except later than 15 s after its last sign of life.
-- The same rule in Python is analyzer/passes/recorded.py; tests/analyzer/test_recorded.py holds the two against each other.
-- How: each step is a moment at which a collector begins (1) or ends (-1) to lack a stream for one reason. Their running sum is the number of
-- reasons; where it comes to 0 or leaves it, the number of those who record the stream changes. The time without any, added up, is read at
-- the two ends of each gap.
CREATE OR REPLACE VIEW holes AS (
DECLARE OVERRIDABLE @since := dateadd('d', -31, now())
WITH
first AS (
  SELECT exchange, market, symbol, channel, collector, min(ts)::long first FROM feed_events WHERE event = 'subscribed'
),
resumed AS (
  SELECT g.ts ts, g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.collector collector, min(s.ts)::long again
  FROM (SELECT * FROM feed_events WHERE event = 'subscribed') s
  JOIN (SELECT * FROM gaps WHERE to_ts IS NULL AND NOT repaired) g ON (exchange, market, symbol, channel, collector)
  WHERE s.ts > g.recv_ts
),
told AS (
  SELECT g.ts ts, g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.collector collector,
         g.low low, greatest(g.low + 1, coalesce(g.high, r.again, now()::long)) high, g.high IS NULL AND r.again IS NULL lasts
  FROM (SELECT ts, exchange, market, symbol, channel, collector, greatest(from_ts, @since)::long low, to_ts::long high
        FROM gaps WHERE NOT repaired AND (to_ts IS NULL OR to_ts > @since)) g
  LEFT JOIN resumed r ON (ts, exchange, market, symbol, channel, collector)
),
members AS (
  SELECT exchange, market, symbol, channel, collector FROM first
  UNION SELECT exchange, market, symbol, channel, collector FROM told
),
alive AS (SELECT collector, max(ts)::long last FROM collector_stats),
steps AS (
  SELECT exchange, market, symbol, channel, collector, at, sum(step) step FROM (
    SELECT exchange, market, symbol, channel, collector, @since::long at, 1 step FROM members
    UNION ALL SELECT exchange, market, symbol, channel, collector, greatest(first, @since::long) at, -1 step FROM first
    UNION ALL SELECT exchange, market, symbol, channel, collector, low at, 1 step FROM told
    UNION ALL SELECT exchange, market, symbol, channel, collector, high at, -1 step FROM told
    UNION ALL SELECT m.exchange, m.market, m.symbol, m.channel, m.collector, greatest(a.last + 15000000, @since::long) at, 1 step
              FROM members m JOIN alive a ON (collector)
  ) GROUP BY exchange, market, symbol, channel, collector, at
),
reasons AS (
  SELECT exchange, market, symbol, channel, at, step,
         sum(step) OVER (PARTITION BY exchange, market, symbol, channel, collector ORDER BY at ROWS UNBOUNDED PRECEDING) count
  FROM steps
),
turns AS (
  SELECT exchange, market, symbol, channel, at,
         sum(CASE WHEN count <= 0 AND (count - step > 0 OR at = @since::long) THEN 1
                  WHEN count > 0 AND count - step <= 0 AND at > @since::long THEN -1 ELSE 0 END) turn
  FROM reasons GROUP BY exchange, market, symbol, channel, at
),
spans AS (
  SELECT exchange, market, symbol, channel, at,
         sum(turn) OVER (PARTITION BY exchange, market, symbol, channel ORDER BY at ROWS UNBOUNDED PRECEDING) recorders,
         lead(at) OVER (PARTITION BY exchange, market, symbol, channel ORDER BY at) next
  FROM turns
),
sums AS (
  SELECT exchange, market, symbol, channel, at,
         coalesce(sum(CASE WHEN recorders <= 0 THEN next - at ELSE 0 END) OVER (PARTITION BY exchange, market, symbol, channel
                  ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) lost,
         max(CASE WHEN recorders > 0 THEN next END) OVER (PARTITION BY exchange, market, symbol, channel
             ORDER BY at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) heard
  FROM spans
),
judged AS (
  SELECT t.ts ts, t.exchange exchange, t.market market, t.symbol symbol, t.channel channel, t.collector collector,
         t.high high, t.lasts lasts, b.lost - a.lost lost, b.heard heard
  FROM told t
  JOIN sums a ON a.exchange = t.exchange AND a.market = t.market AND a.symbol = t.symbol AND a.channel = t.channel AND a.at = t.low
  JOIN sums b ON b.exchange = t.exchange AND b.market = t.market AND b.symbol = t.symbol AND b.channel = t.channel AND b.at = t.high
)
SELECT g.ts ts, g.recv_ts recv_ts, g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.collector collector,
       g.from_ts from_ts, g.to_ts to_ts, g.cause cause, g.missing missing, g.repaired repaired, g.repair repair, g.recovered recovered,
       datediff('T', g.from_ts, coalesce(g.to_ts, now())) / 1000.0 seconds,
       coalesce(j.lost, 0) > 0 lost,
       coalesce(j.lost, 0) / 1000000.0 lost_s,
       CASE WHEN j.lasts AND j.lost > 0 AND coalesce(j.heard, 0) < j.high
            THEN greatest(g.from_ts::long, coalesce(j.heard, 0))::timestamp END lost_since,
       CASE WHEN g.repaired THEN 'REST' WHEN coalesce(j.lost, 0) <= 0 THEN 'another collector'
            WHEN j.lost < j.high - greatest(g.from_ts, @since)::long THEN 'another collector, in part' ELSE 'nobody' END kept_by
FROM (SELECT * FROM gaps WHERE to_ts IS NULL OR to_ts > @since) g
LEFT JOIN judged j ON (ts, exchange, market, symbol, channel, collector)
);
