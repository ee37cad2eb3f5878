"""What must hold of everything that a decoder gives, whatever it was given."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from collector.exchanges.base import Bad, Broken, Item, Resynced, Stream
from collector.rows import BookSnapshot, Levels, Liquidation, Ticker, Trade
from collector.settings import FeedConfig

MAX_US = 10**16
"""The year 2286."""
NOT_NEGATIVE = ("last", "mark", "index", "bid", "ask", "open_interest")
"""Of a ticker. 0 is what venues send for "none"."""


PLAIN = (b"pong", b"Websocket connection established.")
"""What venues send that is no JSON."""


class Violation(Exception):  # noqa: N818 - what was found, not what went wrong here
    """An invariant does not hold; the message says which."""


def require(holds: bool, what: object) -> None:
    if not holds:
        raise Violation(str(what))


def positive(number: object) -> bool:
    return type(number) is float and 0.0 < number < math.inf


def check_row(row: object, feed: FeedConfig, streams: frozenset[Stream]) -> None:
    """Raises Violation for a row that can't be true."""
    if isinstance(row, Trade | Liquidation):
        channel = "trades" if isinstance(row, Trade) else "liquidations"
        identity = row.trade_id if isinstance(row, Trade) else row.liq_id
        require(positive(row.price) and positive(row.qty), row)
        require(row.side in ("buy", "sell") or (row.side is None and isinstance(row, Trade)), row)
        require(isinstance(identity, str) and bool(identity), row)
    elif isinstance(row, BookSnapshot):
        channel = "orderbook"
        check_side(row.bids, feed.book_depth, descending=True)
        check_side(row.asks, feed.book_depth, descending=False)
        require(type(row.seq) is int and -(2**63) < row.seq < 2**63, row.seq)
    elif isinstance(row, Ticker):
        channel = "tickers"
        for name in NOT_NEGATIVE:
            value = getattr(row, name)
            require(value is None or value == 0.0 or positive(value), row)
        require(row.funding_rate is None or math.isfinite(row.funding_rate), row)
        require(row.next_funding_ts is None or 0 < row.next_funding_ts < MAX_US, row)
    else:
        return
    require(type(row.ts) is int and 0 < row.ts < MAX_US, row)
    require((row.exchange, row.market) == (feed.exchange, feed.market), row)
    require((channel, row.symbol) in streams, row)


def check_side(levels: Levels, depth: int, *, descending: bool) -> None:
    require(levels.shape[0] == 2 and levels.shape[1] <= depth and levels.dtype == np.float64, levels.shape)
    require(bool(np.isfinite(levels).all() and (levels > 0).all()), levels)
    steps = np.diff(levels[0])
    require(bool((steps < 0).all() if descending else (steps > 0).all()), levels)


def is_json(raw: bytes) -> bool:
    """By another parser than ours, and without what JSON does not have. Texts may hold any bytes: the decoders need not look
    into those that they skip."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(raw.decode("latin-1"), parse_constant=no_constant, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


class Wholeness:
    """Which streams have rows that are good, by what the decoder has said."""

    def __init__(self) -> None:
        self.whole: set[Stream] = set()

    def follow(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Broken):
                self.whole.discard((item.channel, item.symbol))
            elif isinstance(item, Resynced):
                self.whole.add((item.channel, item.symbol))


def check_unreadable(raw: bytes, items: Sequence[Item], stream: Stream | None, whole: bool) -> None:
    """`stream`: that which the message still names, if any; `whole`: it was before."""
    bad = [item for item in items if isinstance(item, Bad)]
    if not bad and not is_json(raw) and raw not in PLAIN:
        raise Violation("not JSON, and not said to be bad")
    if bad and stream is not None and whole:
        broken = [(item.channel, item.symbol) for item in items if isinstance(item, Broken)]
        require(broken == [stream], f"bad, but the breaks are {broken} instead of {stream}: {bad[0].reason}")
