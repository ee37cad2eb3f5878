-- Whether one symbol's 1 s returns follow bitcoin's: their correlation at 0, 1, 2 and 3 seconds' delay, over the last hour.
DECLARE @leader := 'BTCUSDT', @follower := 'ETHUSDT'
SELECT a.exchange exchange, a.market market, count() seconds, corr(a.r, b.r0) at_once, corr(a.r, b.r1) after_1s,
       corr(a.r, b.r2) after_2s, corr(a.r, b.r3) after_3s
FROM (SELECT ts, exchange, market, ln(close / lag(close) OVER (PARTITION BY exchange, market ORDER BY ts)) r
      FROM ohlcv_1s WHERE ts > dateadd('h', -1, now()) AND symbol = @follower) a
JOIN (SELECT ts, exchange, market, r r0, lag(r) OVER w r1, lag(r, 2) OVER w r2, lag(r, 3) OVER w r3
      FROM (SELECT ts, exchange, market, ln(close / lag(close) OVER (PARTITION BY exchange, market ORDER BY ts)) r
            FROM ohlcv_1s WHERE ts > dateadd('h', -1, now()) AND symbol = @leader)
      WINDOW w AS (PARTITION BY exchange, market ORDER BY ts)) b ON (ts, exchange, market);
