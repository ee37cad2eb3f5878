-- One-minute candles of one symbol with VWAP, volume, and the share that takers bought.
DECLARE @symbol := 'BTCUSDT', @hours := 1
SELECT ts, exchange, market, open, high, low, close, notional / volume vwap, volume, buy_volume / volume buy_share, trades
FROM ohlcv_1m WHERE ts > dateadd('h', -@hours, now()) AND symbol = @symbol ORDER BY ts, exchange, market;
