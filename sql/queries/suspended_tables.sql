-- Tables whose rows are accepted but stay invisible, or lag. Cure of a suspension: mend the cause, then ALTER TABLE <name> RESUME WAL.
SELECT name, suspended, sequencerTxn - writerTxn transactions_behind, errorTag, errorMessage, memoryPressure
FROM wal_tables() WHERE suspended OR sequencerTxn > writerTxn;
