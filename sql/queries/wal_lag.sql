-- Each table's write-ahead log: transactions and rows not applied yet, suspension, memory pressure, write amplification.
SELECT table_name, wal_txn - table_txn transactions_behind, wal_pending_row_count rows_pending, table_suspended,
       table_memory_pressure_level memory_pressure, table_write_amp_p99 write_amplification_p99,
       wal_dedup_row_count_since_start deduplicated
FROM tables() WHERE walEnabled ORDER BY transactions_behind DESC, table_name;
