-- QuestDB is a program of process_events too, as a collector saw it. event of its end: crashed or stopped where that is known, else away (it was
-- not to be reached; a `started` of the same time range says that another process answered afterwards). These columns are of its end.
-- When it answered again.
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS until_ts TIMESTAMP;
-- Attempts to reach it that failed; 0: it ended while no collector looked, some time between ts and until_ts.
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS attempts LONG;
-- Rows that waited in the journal when it answered again, and when the last of them was acknowledged (empty: not yet, or not counted).
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS waiting_rows LONG;
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS caught_up_ts TIMESTAMP;

-- Of any program: where its log goes: journal:UNIT (systemd's), file:PATH, terminal:DEVICE; empty: not known. And where it runs: the machine's
-- boot and the process namespace, within which a pid names one process.
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS log VARCHAR;
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS place VARCHAR;
-- Whose row it is, by its journal.
ALTER TABLE process_events ADD COLUMN IF NOT EXISTS collector SYMBOL;
