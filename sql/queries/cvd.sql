-- Cumulative volume delta of one symbol (taker buys less taker sells, in base units), minute by minute, beside its price.
DECLARE @symbol := 'BTCUSDT', @hours := 1
SELECT ts, exchange, market, close, delta, sum(delta) OVER (PARTITION BY exchange, market ORDER BY ts ROWS UNBOUNDED PRECEDING) cvd
FROM (SELECT ts, exchange, market, last(price) close,
             sum(CASE WHEN side = 'buy' THEN qty WHEN side = 'sell' THEN -qty ELSE 0.0 END) delta
      FROM trades WHERE ts > dateadd('h', -@hours, now()) AND symbol = @symbol SAMPLE BY 1m);
