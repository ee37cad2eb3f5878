-- Volume by price of one symbol over a day, in 50 steps from its lowest to its highest price: where it changed hands.
DECLARE @symbol := 'BTCUSDT', @hours := 24, @steps := 50
SELECT exchange, market, low + (high - low) * step / @steps price_from, sum(qty) volume, sum(price * qty) notional,
       sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) / sum(qty) buy_share
FROM (SELECT t.exchange exchange, t.market market, t.side side, t.price price, t.qty qty, r.low low, r.high high,
             least(floor((t.price - r.low) / (r.high - r.low) * @steps), @steps - 1) step
      FROM trades t JOIN (SELECT exchange, market, min(price) low, max(price) high FROM trades
                          WHERE ts > dateadd('h', -@hours, now()) AND symbol = @symbol) r ON (exchange, market)
      WHERE t.ts > dateadd('h', -@hours, now()) AND t.symbol = @symbol AND r.high > r.low)
ORDER BY exchange, market, price_from;
