-- What happened to connections and subscriptions per hour over the last day: connected, disconnected, rejected and others.
SELECT ts, exchange, market, event, count() times
FROM feed_events WHERE ts > dateadd('d', -1, now()) SAMPLE BY 1h ORDER BY ts DESC, exchange, market, event;
