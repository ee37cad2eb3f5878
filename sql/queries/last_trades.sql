-- The last 50 trades of one symbol: when, who took, price, size, and how late each arrived.
DECLARE @symbol := 'BTCUSDT'
SELECT ts, exchange, market, symbol, side, price, qty, datediff('T', ts, recv_ts) latency_ms
FROM trades WHERE symbol = @symbol ORDER BY ts DESC LIMIT 50;
