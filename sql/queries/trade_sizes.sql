-- Who trades: the last day's trades by size in quote units, with each bucket's share of buying.
SELECT exchange, market, symbol, bucket, count() trades, sum(notional) notional,
       sum(CASE WHEN side = 'buy' THEN notional ELSE 0.0 END) / sum(notional) buy_share
FROM (SELECT exchange, market, symbol, side, price * qty notional,
             CASE WHEN price * qty < 1000 THEN '1: below 1k' WHEN price * qty < 10000 THEN '2: 1k to 10k'
                  WHEN price * qty < 100000 THEN '3: 10k to 100k' ELSE '4: 100k and more' END bucket
      FROM trades WHERE ts > dateadd('d', -1, now()))
ORDER BY exchange, market, symbol, bucket;
