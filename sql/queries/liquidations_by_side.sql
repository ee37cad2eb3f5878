-- Liquidated notional of the last day by side. The side is the forced order's: sell closed a long, buy closed a short.
SELECT exchange, market, symbol, side, sum(notional) notional, max(largest) largest, sum(orders) orders
FROM liquidations_1m WHERE ts > dateadd('d', -1, now()) ORDER BY notional DESC;
