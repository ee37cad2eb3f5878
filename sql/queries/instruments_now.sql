-- What the venues list, as last seen: base, quote, kind, contract size, tick.
SELECT ts, exchange, market, symbol, name, status, contract_size, inverse, tick, lot
FROM instruments LATEST ON ts PARTITION BY exchange, market, symbol ORDER BY exchange, market, symbol;
