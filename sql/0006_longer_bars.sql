-- Bars of half an hour and of four hours, which start at 0, 4, 8, … UTC.

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_30m WITH BASE ohlcv_5m REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(open) open, max(high) high, min(low) low, last(close) close,
         sum(volume) volume, sum(notional) notional, sum(buy_volume) buy_volume, sum(trades) trades
  FROM ohlcv_5m SAMPLE BY 30m
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_4h WITH BASE ohlcv_1h REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(open) open, max(high) high, min(low) low, last(close) close,
         sum(volume) volume, sum(notional) notional, sum(buy_volume) buy_volume, sum(trades) trades
  FROM ohlcv_1h SAMPLE BY 4h
) PARTITION BY DAY;
