-- The last price of every instrument, its age, and its change over the last day's recorded hours.
SELECT ts, exchange, market, symbol, price, seconds_old, (price / first_price - 1) * 100 change_percent, notional
FROM (SELECT max(ts) ts, exchange, market, symbol, last(close) price, first(open) first_price, sum(notional) notional,
             datediff('s', max(ts), now()) seconds_old
      FROM ohlcv_1m WHERE ts > dateadd('d', -1, now()))
ORDER BY notional DESC;
