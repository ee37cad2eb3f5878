-- Open interest now, and its change over the last hour and over the last day's recorded hours.
SELECT exchange, market, symbol, now_is open_interest, (now_is / an_hour_ago - 1) * 100 hour_percent, (now_is / at_first - 1) * 100 day_percent
FROM (SELECT exchange, market, symbol, first(open_interest) at_first, last(open_interest) now_is,
             first(CASE WHEN ts > dateadd('h', -1, now()) THEN open_interest END) an_hour_ago
      FROM tickers WHERE ts > dateadd('d', -1, now()) AND open_interest > 0)
ORDER BY abs(now_is / at_first - 1) DESC;
