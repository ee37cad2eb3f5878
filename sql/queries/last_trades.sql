-- The last 50 trades of one symbol: when, who took, price, size, and how late each arrived.
DECLARE @symbol := 'BTCUSDT'
SELECT ts, exchange, market, symbol, side, price, qty, (recv_ts - ts) / 1000.0 latency_ms
FROM trades WHERE symbol = @symbol ORDER BY ts DESC LIMIT 50;
