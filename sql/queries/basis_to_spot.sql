-- Perpetuals against spot of the same base coin on the same venue, in basis points per minute over the last hour.
SELECT p.ts ts, p.exchange exchange, p.symbol perpetual, s.symbol spot, (p.close / s.close - 1) * 1e4 basis_bps
FROM (SELECT b.ts ts, b.exchange exchange, b.symbol symbol, i.base base, b.close close FROM ohlcv_1m b
      JOIN (SELECT * FROM instruments LATEST ON ts PARTITION BY exchange, market, symbol) i ON (exchange, market, symbol)
      WHERE b.ts > dateadd('h', -1, now()) AND i.kind = 'perpetual') p
JOIN (SELECT b.ts ts, b.exchange exchange, b.symbol symbol, i.base base, b.close close FROM ohlcv_1m b
      JOIN (SELECT * FROM instruments LATEST ON ts PARTITION BY exchange, market, symbol) i ON (exchange, market, symbol)
      WHERE b.ts > dateadd('h', -1, now()) AND i.kind = 'spot') s ON (ts, exchange, base)
ORDER BY ts, exchange, perpetual, spot;
