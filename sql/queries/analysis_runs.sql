-- The last hour's analysis runs, failures first: how long each took, what it read, and its error.
SELECT started, analysis, window_from, window_to, status, took_ms, rows_read, peak_rss / 1048576.0 peak_rss_mib, error
FROM analysis_runs WHERE ts > dateadd('h', -1, now()) ORDER BY status = 'failed' DESC, started DESC;
