-- Minutes of the last hour whose bar disagrees with its trades: none, unless a view lags or is invalid (see views).
SELECT t.ts ts, t.exchange exchange, t.market market, t.symbol symbol, t.trades trades, b.trades in_bar
FROM (SELECT ts, exchange, market, symbol, count() trades FROM trades
      WHERE ts > timestamp_floor('1m', dateadd('h', -1, now())) SAMPLE BY 1m) t
LEFT JOIN (SELECT * FROM ohlcv_1m WHERE ts > dateadd('h', -2, now())) b
  ON t.ts = b.ts AND t.exchange = b.exchange AND t.market = b.market AND t.symbol = b.symbol
WHERE b.trades IS NULL OR b.trades <> t.trades;
