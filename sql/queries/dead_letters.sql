-- Collector processes of the last week: dead letters, unreadable messages, gaps and reconnects of each. Look closer with 'collector dead-letter list'.
SELECT process, collector, min(ts) started, max(ts) last_seen, max(dead_letters) dead_letters, max(bad_messages) bad_messages,
       max(gaps) gaps, max(reconnects) reconnects
FROM collector_stats WHERE ts > dateadd('d', -7, now()) ORDER BY last_seen DESC;
