-- Correlation of 5 s returns with bitcoin's on the same venue and market over the last hour, and beta, its regression's slope.
SELECT a.exchange exchange, a.market market, a.symbol symbol, corr(a.r, b.r) correlation, regr_slope(a.r, b.r) beta, count() returns
FROM (SELECT ts, exchange, market, symbol, ln(close / lag(close) OVER (PARTITION BY exchange, market, symbol ORDER BY ts)) r
      FROM (SELECT ts, exchange, market, symbol, last(close) close FROM ohlcv_1s
            WHERE ts > dateadd('h', -1, now()) SAMPLE BY 5s)) a
JOIN (SELECT ts, exchange, market, ln(close / lag(close) OVER (PARTITION BY exchange, market ORDER BY ts)) r
      FROM (SELECT ts, exchange, market, last(close) close FROM ohlcv_1s
            WHERE ts > dateadd('h', -1, now()) AND symbol IN ('BTCUSDT', 'BTCUSD', 'BTC-USDT-SWAP', 'XBTUSD', 'BTC-PERPETUAL')
            SAMPLE BY 5s)) b ON (ts, exchange, market)
ORDER BY exchange, market, symbol;
