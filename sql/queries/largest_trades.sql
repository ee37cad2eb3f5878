-- The 50 largest trades of the last day, by notional.
SELECT ts, exchange, market, symbol, side, price, qty, price * qty notional
FROM trades WHERE ts > dateadd('d', -1, now()) ORDER BY notional DESC LIMIT 50;
