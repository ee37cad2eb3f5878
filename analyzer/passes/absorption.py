"""Absorption, exhaustion and icebergs: aggressive volume against price and against the size that was shown.

Suspicions, not proofs, over blocks of ten seconds of the clock; medians are the instrument's own over the window's
blocks.

- absorption: takers of one side have at least 80 % of a block's volume and at least 4 times the median block's larger
  side, and yet price didn't go their way by more than a quarter of the median absolute move. `absorption_bid`: bids
  absorbed sellers.
- exhaustion: three or more blocks in a row with price in one direction, at least 4 median moves in all, on takers' volume
  that falls from block to block, to a third of the first or less; the next block turns back. `exhaustion_up`: buyers ran
  out.
- iceberg: in a block, at one price, takers traded at least the median block's whole volume, and at least 4 times the
  largest size that any book just before one of these trades showed there, with at least 3 such books: it was refilled
  each time. Trades at a price that the book before (10 s old at most) didn't show are left out. `iceberg_bid`: a hidden
  buyer.

The terms are those of traders; no paper fixes them, and the bounds are ours. Blocks without trades aren't counted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.blocks import BLOCK_US, BLOCKS, BLOCKS_SQL, starts
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

MIN_BLOCKS = 12
"""Fewer have no typical block."""
ONE_SIDED, VOLUME_TIMES, HELD = 0.8, 4.0, 0.25
RUN, RUN_MOVES, FADED = 3, 4.0, 1 / 3
SHOWN_TIMES, REFILLS = 4.0, 3
PRICES = ("ts", "side", "price", "traded", "trades", "shown", "books")
Rows = list[dict[str, object]]


def compute(tables: Tables, window: Window) -> list[Value]:
    """`blocks`: one row an instrument and block with trades; `prices`: those blocks' (taker's side, price) where more was
    traded than shown, with the number of trades and of the books before them; `books`: the instruments that have any."""
    hidden = dict(by_instrument(tables["prices"], PRICES))
    with_books = {name for name, _ in by_instrument(tables["books"], ())}
    values = []
    for name, blocks in by_instrument(tables["blocks"], BLOCKS):
        if len(blocks["ts"]) < MIN_BLOCKS:
            continue
        found = absorption(blocks) | exhaustion(blocks)
        if name in with_books:
            found |= icebergs(hidden.get(name), float(np.median(blocks["volume"])))
        values += [Value(*name, metric, float(len(rows)), detail(rows)) for metric, rows in found.items()]
    return values


def absorption(blocks: dict[str, Any]) -> dict[str, Rows]:
    found: dict[str, Rows] = {"absorption_bid": [], "absorption_ask": []}
    move = np.log(blocks["close"] / blocks["open"])
    typical = float(np.median(np.abs(move)))
    larger = np.maximum(blocks["buys"], blocks["sells"])
    usual = float(np.median(larger))
    if usual <= 0:
        return found
    for side, taken, other, sign in (("ask", "buys", "sells", 1), ("bid", "sells", "buys", -1)):
        volume = blocks[taken]
        hit = (volume >= VOLUME_TIMES * usual) & (volume >= ONE_SIDED * (volume + blocks[other]))
        for n in np.flatnonzero(hit & (sign * move <= HELD * typical)):
            found[f"absorption_{side}"].append(
                _block(blocks, int(n))
                | {
                    "taken": float(volume[n]),
                    "times_median": float(volume[n] / usual),
                    "median_move_bps": typical * 1e4,
                }
            )
    return found


def exhaustion(blocks: dict[str, Any]) -> dict[str, Rows]:
    found: dict[str, Rows] = {"exhaustion_up": [], "exhaustion_down": []}
    times = starts(blocks)
    closes = np.log(blocks["close"])
    moves = np.diff(closes)  # from block to block; the first block has none
    typical = float(np.median(np.abs(moves)))
    if typical <= 0:
        return found
    for name, volumes, sign in (("up", blocks["buys"], 1), ("down", blocks["sells"], -1)):
        start = 1
        for n in range(2, len(closes) + 1):
            together = n < len(closes) and times[n] - times[n - 1] == BLOCK_US
            goes_on = (
                together
                and sign * moves[n - 1] > 0
                and sign * moves[n - 2] > 0
                and volumes[n] < volumes[n - 1]
            )
            if goes_on:
                continue
            run = range(start, n)
            if (
                together
                and len(run) >= RUN
                and sign * moves[n - 1] < 0
                and sign * (closes[n - 1] - closes[start - 1]) >= RUN_MOVES * typical
                and volumes[n - 1] <= FADED * volumes[start]
                and times[n - 1] - times[start - 1] == BLOCK_US * len(run)
            ):
                rows = [_block(blocks, k) for k in (*run, n)]
                found[f"exhaustion_{name}"].append({"blocks": rows, "median_move_bps": typical * 1e4})
            start = n
    return found


def icebergs(prices: dict[str, Any] | None, usual: float) -> dict[str, Rows]:
    found: dict[str, Rows] = {"iceberg_bid": [], "iceberg_ask": []}
    if prices is None:
        return found
    times = starts(prices)
    good = (
        (prices["traded"] >= usual)
        & (prices["traded"] >= SHOWN_TIMES * prices["shown"])
        & (prices["shown"] > 0)
    )
    for n in np.flatnonzero(good & (prices["books"] >= REFILLS)):
        side = {"sell": "bid", "buy": "ask"}[str(prices["side"][n])]
        found[f"iceberg_{side}"].append(
            {
                "from": iso(int(times[n])),
                "price": float(prices["price"][n]),
                "traded": float(prices["traded"][n]),
                "trades": int(prices["trades"][n]),
                "largest_shown": float(prices["shown"][n]),
                "books": int(prices["books"][n]),
            }
        )
    for rows in found.values():
        rows.sort(key=lambda row: (str(row["from"]), str(row["price"])))
    return found


def _block(blocks: dict[str, Any], n: int) -> dict[str, object]:
    numbers = {name: float(blocks[name][n]) for name in ("open", "high", "low", "close", "buys", "sells")}
    move = math.log(numbers["close"] / numbers["open"]) * 1e4
    return {"from": iso(int(starts(blocks)[n])), **numbers, "move_bps": move}


def _prices_sql() -> str:
    """Only trades at a side and price that can have been an iceberg's are joined to books: of enough trades, and of at least
    nine tenths of the 45th percentile of the blocks' volumes, which is less than their median however it's approximated."""
    sided = f"FROM trades WHERE {{where}} AND side IN ('buy', 'sell') AND {TRADED}"
    groups = (
        "SELECT timestamp_floor('10s', ts) block, exchange, market, symbol, side, price, sum(qty) total, count() trades "
        f"{sided}"
    )
    usual = (
        "SELECT exchange, market, symbol, 0.9 * approx_percentile(volume, 0.45, 3) usual FROM ("  # noqa: S608
        f"SELECT ts, exchange, market, symbol, sum(qty) volume FROM trades WHERE {{where}} AND {TRADED} SAMPLE BY 10s)"
    )
    possible = (
        "SELECT g.block block, g.exchange exchange, g.market market, g.symbol symbol, g.side side, g.price price "  # noqa: S608
        f"FROM (SELECT * FROM ({groups}) WHERE trades >= {REFILLS}) g JOIN ({usual}) u ON (exchange, market, symbol) "
        "WHERE g.total >= u.usual"
    )
    trades = (
        "SELECT t.ts ts, t.block block, t.exchange exchange, t.market market, t.symbol symbol, t.side side, "  # noqa: S608
        "t.price price, t.qty qty FROM (SELECT ts, timestamp_floor('10s', ts) block, exchange, market, symbol, side, price, "
        f"qty {sided}) t JOIN ({possible}) p ON (block, exchange, market, symbol, side, price)"
    )
    shown = (
        "SELECT t.block block, t.exchange exchange, t.market market, t.symbol symbol, t.side side, t.price price, "  # noqa: S608
        "t.qty qty, b.ts::long seen, CASE WHEN t.side = 'buy' THEN b.asks[2][array_position(b.asks[1], t.price)] "
        "ELSE b.bids[2][array_position(b.bids[1], t.price)] END shown "
        f"FROM (({trades}) TIMESTAMP(ts)) t "
        "ASOF JOIN (SELECT ts, exchange, market, symbol, bids, asks FROM orderbook WHERE {where}) b "
        "ON (exchange, market, symbol) TOLERANCE 10s"
    )
    return (
        "SELECT block ts, exchange, market, symbol, side, price, traded, trades, shown, books FROM ("  # noqa: S608
        "SELECT block, exchange, market, symbol, side, price, sum(qty) traded, count() trades, "
        f"max(shown) shown, count_distinct(seen) books FROM ({shown}) WHERE shown > 0) "
        f"WHERE traded >= {SHOWN_TIMES} * shown AND books >= {REFILLS}"
    )


ABSORPTION = Analysis(
    name="absorption",
    metrics=(
        Metric("absorption_bid", "count", "blocks of 10 s in which bids absorbed heavy selling; see detail"),
        Metric("absorption_ask", "count", "blocks of 10 s in which asks absorbed heavy buying; see detail"),
        Metric("exhaustion_up", "count", "rises on fading buying that turned back; see detail"),
        Metric("exhaustion_down", "count", "falls on fading selling that turned back; see detail"),
        Metric(
            "iceberg_bid", "count", "prices at which sellers met far more than bids ever showed; see detail"
        ),
        Metric(
            "iceberg_ask", "count", "prices at which buyers met far more than asks ever showed; see detail"
        ),
    ),
    channels=("trades", "orderbook"),
    queries={
        "blocks": BLOCKS_SQL,
        "prices": _prices_sql(),
        "books": "SELECT max(ts) ts, exchange, market, symbol FROM orderbook WHERE {where}",
    },
    compute=compute,
)
