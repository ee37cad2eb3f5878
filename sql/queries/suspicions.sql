-- What the analyses hold to be suspicious over the last day, with the evidence: spoofed walls, layers, icebergs, absorption.
SELECT ts, exchange, market, symbol, analysis, metric, value, detail
FROM signals WHERE ts > dateadd('d', -1, now()) AND analysis IN ('walls', 'absorption') AND value > 0 AND detail IS NOT NULL
ORDER BY ts DESC, exchange, market, symbol, metric;
