-- Rows of each table per minute over the last hour: a dip is a hole, a table that is missing records nothing.
SELECT ts, table_name, count() rows FROM (
  SELECT ts, 'trades' table_name FROM trades WHERE ts > dateadd('h', -1, now())
  UNION ALL SELECT ts, 'orderbook' FROM orderbook WHERE ts > dateadd('h', -1, now())
  UNION ALL SELECT ts, 'liquidations' FROM liquidations WHERE ts > dateadd('h', -1, now())
  UNION ALL SELECT ts, 'tickers' FROM tickers WHERE ts > dateadd('h', -1, now())
) TIMESTAMP(ts) SAMPLE BY 1m;
