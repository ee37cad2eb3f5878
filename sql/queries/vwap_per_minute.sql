-- Volume-weighted average price and taker flow per minute over the last hour.
SELECT ts, exchange, market, symbol, notional / volume vwap, volume, buy_volume / volume buy_share, trades
FROM ohlcv_1m WHERE ts > dateadd('h', -1, now()) ORDER BY ts, exchange, market, symbol;
