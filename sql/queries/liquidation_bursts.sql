-- The minutes of the last day with the most liquidated: long when longs were closed (forced sells), short otherwise.
SELECT ts, exchange, market, symbol, CASE WHEN side = 'sell' THEN 'long' ELSE 'short' END closed, notional, orders, largest
FROM liquidations_1m WHERE ts > dateadd('d', -1, now()) ORDER BY notional DESC LIMIT 20;
