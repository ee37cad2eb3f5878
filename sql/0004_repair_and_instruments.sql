-- What REST has repaired of a gap, and what the venues list.

-- complete: every trade of it is stored (repaired is true); partial: those that the venue still had; none: it had none;
-- unavailable: it has no such request; failed: it refused; empty: not tried yet.
ALTER TABLE gaps ADD COLUMN IF NOT EXISTS repair SYMBOL;

-- Trades of the gap that REST gave.
ALTER TABLE gaps ADD COLUMN IF NOT EXISTS recovered LONG;

-- One row a day and symbol: LATEST ON ts PARTITION BY exchange, market, symbol is what is known now.
-- name is BASE-QUOTE-KIND; contract_size is in base units, or in quote units where inverse; lot in the venue's own sizes.
CREATE TABLE IF NOT EXISTS instruments (
  ts TIMESTAMP, recv_ts TIMESTAMP, exchange SYMBOL, market SYMBOL, symbol SYMBOL CAPACITY 16384,
  name SYMBOL CAPACITY 16384, base SYMBOL CAPACITY 4096, quote SYMBOL, kind SYMBOL, status SYMBOL,
  contract_size DOUBLE, inverse BOOLEAN, tick DOUBLE, lot DOUBLE
) TIMESTAMP(ts) PARTITION BY MONTH WAL
DEDUP UPSERT KEYS(ts, exchange, market, symbol);
