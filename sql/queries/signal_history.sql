-- One number of one symbol over the last day, with its coverage: 'analyzer metrics' lists the names.
DECLARE @analysis := 'flow', @metric := 'imbalance', @symbol := 'BTCUSDT', @hours := 24
SELECT ts, exchange, market, window_s, value, coverage
FROM signals WHERE ts > dateadd('h', -@hours, now()) AND analysis = @analysis AND metric = @metric AND symbol = @symbol
ORDER BY ts, exchange, market, window_s;
