-- The server's memory by use, in MiB, largest first.
SELECT memory_tag, bytes / 1048576.0 mib FROM memory_metrics() WHERE bytes > 1048576 ORDER BY bytes DESC;
