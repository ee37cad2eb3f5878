-- Where one symbol's positions were liquidated: the last day's forced orders by price, in steps of 0.1 %.
DECLARE @symbol := 'BTCUSDT', @hours := 24
SELECT exchange, market, side, exp(step / 1000.0) price_from, sum(price * qty) notional, count() orders
FROM (SELECT exchange, market, side, price, qty, floor(ln(price) * 1000) step
      FROM liquidations WHERE ts > dateadd('h', -@hours, now()) AND symbol = @symbol)
ORDER BY exchange, market, price_from, side;
