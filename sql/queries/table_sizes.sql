-- Disk by table and view, largest first, with rows, partitions and bytes a row.
SELECT tableName, rowCount, partitionCount, diskSize / 1048576.0 mib, diskSize / rowCount::double bytes_a_row
FROM table_storage() ORDER BY diskSize DESC;
