-- Trades of the last day without a usable price, size or side, and those more than 10 % away from their minute's VWAP.
SELECT t.ts ts, t.exchange exchange, t.market market, t.symbol symbol, t.side side, t.price price, t.qty qty, b.notional / b.volume minute_vwap
FROM (SELECT timestamp_floor('1m', ts) minute, * FROM trades WHERE ts > dateadd('d', -1, now())) t
LEFT JOIN (SELECT * FROM ohlcv_1m WHERE ts > dateadd('d', -1, now())) b
  ON t.minute = b.ts AND t.exchange = b.exchange AND t.market = b.market AND t.symbol = b.symbol
WHERE t.price IS NULL OR t.price <= 0 OR t.qty IS NULL OR t.qty <= 0 OR t.side IS NULL
   OR abs(t.price * b.volume / b.notional - 1) > 0.1
LIMIT 100;
