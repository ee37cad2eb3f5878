-- What happened to the connections and subscriptions of each collector per hour over the last day: connected, disconnected, rejected and others.
SELECT ts, exchange, market, collector, event, count() times
FROM feed_events WHERE ts > dateadd('d', -1, now()) SAMPLE BY 1h ORDER BY ts DESC, exchange, market, collector, event;
