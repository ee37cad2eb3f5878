-- When it trades: notional by hour of the day (UTC), over the last week.
SELECT hour(ts) hour_utc, exchange, market, symbol, sum(notional) notional, sum(trades) trades
FROM ohlcv_1h WHERE ts > dateadd('d', -7, now()) ORDER BY exchange, market, symbol, hour_utc;
