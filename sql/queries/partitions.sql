-- Rows and disk of the trades table by partition, newest first: how much a day costs, and what a TTL would drop next.
SELECT name, minTimestamp, maxTimestamp, numRows, diskSizeHuman, isParquet, active
FROM table_partitions('trades') ORDER BY minTimestamp DESC LIMIT 100;
