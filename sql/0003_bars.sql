-- OHLCV and liquidation bars, kept by the server. volume is in base units, notional in quote units.

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_1s WITH BASE trades REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(price) open, max(price) high, min(price) low, last(price) close,
         sum(qty) volume, sum(price * qty) notional,
         sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) buy_volume, count() trades
  FROM trades SAMPLE BY 1s
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_1m WITH BASE ohlcv_1s REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(open) open, max(high) high, min(low) low, last(close) close,
         sum(volume) volume, sum(notional) notional, sum(buy_volume) buy_volume, sum(trades) trades
  FROM ohlcv_1s SAMPLE BY 1m
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_5m WITH BASE ohlcv_1m REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(open) open, max(high) high, min(low) low, last(close) close,
         sum(volume) volume, sum(notional) notional, sum(buy_volume) buy_volume, sum(trades) trades
  FROM ohlcv_1m SAMPLE BY 5m
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS ohlcv_1h WITH BASE ohlcv_5m REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol,
         first(open) open, max(high) high, min(low) low, last(close) close,
         sum(volume) volume, sum(notional) notional, sum(buy_volume) buy_volume, sum(trades) trades
  FROM ohlcv_5m SAMPLE BY 1h
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS liquidations_1m WITH BASE liquidations REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol, side,
         sum(qty) qty, sum(price * qty) notional, max(price * qty) largest, count() orders
  FROM liquidations SAMPLE BY 1m
) PARTITION BY DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS liquidations_1h WITH BASE liquidations_1m REFRESH IMMEDIATE AS (
  SELECT ts, exchange, market, symbol, side,
         sum(qty) qty, sum(notional) notional, max(largest) largest, sum(orders) orders
  FROM liquidations_1m SAMPLE BY 1h
) PARTITION BY DAY;
