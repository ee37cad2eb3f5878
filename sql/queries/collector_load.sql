-- Collectors per minute over the last hour: CPU share, rows a second, backlog, age of the oldest unsent row, delay of the event loop.
SELECT ts, process, collector, (cpu - lag(cpu) OVER w) / 60.0 cpu_share, (rows - lag(rows) OVER w) / 60.0 rows_per_s,
       pending / 1048576.0 pending_mib, lag_ms, loop_lag_ms
FROM (SELECT ts, process, collector, last(cpu) cpu, last(rows) rows, max(journal_pending_bytes) pending, max(lag_ms) lag_ms, max(loop_lag_ms) loop_lag_ms
      FROM collector_stats WHERE ts > dateadd('h', -1, now()) SAMPLE BY 1m)
WINDOW w AS (PARTITION BY process, collector ORDER BY ts);
