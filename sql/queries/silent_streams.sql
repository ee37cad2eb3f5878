-- How old each stream's newest row is, in seconds; the longest silent first.
SELECT exchange, market, symbol, channel, newest, datediff('s', newest, now()) seconds_old FROM (
  SELECT exchange, market, symbol, 'trades' channel, max(ts) newest FROM trades WHERE ts > dateadd('d', -1, now())
  UNION ALL SELECT exchange, market, symbol, 'orderbook', max(ts) FROM orderbook WHERE ts > dateadd('d', -1, now())
  UNION ALL SELECT exchange, market, symbol, 'tickers', max(ts) FROM tickers WHERE ts > dateadd('d', -1, now())
) ORDER BY seconds_old DESC;
