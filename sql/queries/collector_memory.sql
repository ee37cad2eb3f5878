-- Each collector process over the last day, every 5 minutes: memory and swap in MiB, messages a second, backlog.
-- A restart shows as a new process.
SELECT ts, process, collector, max(rss) / 1048576.0 rss_mib, max(swap) / 1048576.0 swap_mib,
       (last(messages) - first(messages)) / 300.0 messages_per_s, max(journal_pending_bytes) / 1048576.0 pending_mib, max(lag_ms) lag_ms
FROM collector_stats WHERE ts > dateadd('d', -1, now()) SAMPLE BY 5m;
