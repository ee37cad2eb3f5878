-- The materialized views: valid or not and why, and how many transactions behind their table they are.
SELECT view_name, view_status, base_table_name, base_table_txn - refresh_base_table_txn transactions_behind,
       last_refresh_finish_timestamp, invalidation_reason
FROM materialized_views() ORDER BY view_name;
