-- Each analysis over the last day: runs, failures, how long they took, what they read, their largest memory.
SELECT analysis, count() runs, sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) failed, approx_percentile(took_ms, 0.5, 3) median_ms,
       max(took_ms) longest_ms, avg(rows_read) rows_read, max(peak_rss) / 1048576.0 peak_rss_mib
FROM analysis_runs WHERE ts > dateadd('d', -1, now()) ORDER BY longest_ms DESC;
