-- Queries that run on the server now, the longest first: CANCEL QUERY <query_id> ends one.
SELECT query_id, username, datediff('T', query_start, now()) / 1000.0 seconds, state, query FROM query_activity() ORDER BY query_start;
