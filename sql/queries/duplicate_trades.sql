-- Trade ids that are stored more than once over the last hour; there should be none, as ids are part of the key.
SELECT exchange, market, symbol, trade_id, copies, first, last
FROM (SELECT exchange, market, symbol, trade_id, count() copies, min(ts) first, max(ts) last
      FROM trades WHERE ts > dateadd('h', -1, now()))
WHERE copies > 1 ORDER BY copies DESC LIMIT 100;
