-- The instruments that moved most in the last hour, from the one-minute bars.
SELECT exchange, market, symbol, first_open, last_close, (last_close / first_open - 1) * 100 change_percent, notional
FROM (SELECT exchange, market, symbol, first(open) first_open, last(close) last_close, sum(notional) notional
      FROM ohlcv_1m WHERE ts > dateadd('h', -1, now()))
ORDER BY abs(last_close / first_open - 1) DESC LIMIT 20;
