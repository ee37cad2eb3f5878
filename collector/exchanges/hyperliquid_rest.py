"""Hyperliquid's REST, which is POST /info alone: listings with their turnover, and the newest trades."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.hyperliquid_topics import TAKER
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Trade

PATH = "/info"
WEIGHT = 20
LISTINGS = {"linear": "metaAndAssetCtxs", "spot": "spotMetaAndAssetCtxs"}
DECIMALS = {"linear": 6, "spot": 8}
"""Of a price, less those of the size."""
FIGURES = 5
"""Significant ones of a price; whole numbers are always allowed."""


def listing_request(market: str) -> Request:
    return Request(PATH, WEIGHT, msgspec.json.encode({"type": LISTINGS[market]}).decode())


def listed(market: str, body: bytes) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[int, Any]]]:
    """(pair or perpetual, its context, tokens by number). Raises BadAnswerError."""
    try:
        meta, contexts = msgspec.json.decode(body)
        universe = meta["universe"]
        tokens = {token["index"]: token for token in meta.get("tokens", ())}
        if market == "spot":
            # Contexts name their pair, as there may be some of pairs that are not listed.
            by_name = {ctx.get("coin"): ctx for ctx in contexts}
            pairs = [(item, by_name.get(item["name"], {})) for item in universe]
        else:
            pairs = list(zip(universe, contexts, strict=True))
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswerError(f"not a listing: {error!r}") from error
    for item, context in pairs:
        yield item, context, tokens


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [instrument(market, *one) for one in listed(market, body)]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def instrument(
    market: str, item: dict[str, Any], context: dict[str, Any], tokens: dict[int, Any]
) -> Instrument:
    name = str(item["name"])
    if market == "spot":
        base, quote = (tokens[number] for number in item["tokens"])
        names, decimals = (str(base["name"]), str(quote["name"])), int(base["szDecimals"])
    else:
        names, decimals = (name, "USDC"), int(item["szDecimals"])
    if not 0 <= decimals <= 20:
        raise ValueError(f"szDecimals {decimals} of {name}")
    return Instrument(
        symbol=name,
        base=names[0],
        quote=names[1],
        kind="spot" if market == "spot" else "perpetual",
        status="delisted" if item.get("isDelisted") else "trading",
        tick=tick(DECIMALS[market] - decimals, number(context.get("markPx") or 0)),
        lot=float(f"1e-{decimals}"),
    )


def tick(decimals: int, price: float) -> float:
    """At that price: the finest step that both the decimals and the significant figures allow."""
    finest = -max(decimals, 0)
    if price > 0:
        finest = max(finest, min(0, math.floor(math.log10(price)) - FIGURES + 1))
    return float(f"1e{finest}")


def turnover(market: str, body: bytes) -> dict[str, float]:
    """Raises BadAnswerError."""
    try:
        return {
            str(item["name"]): number(context.get("dayNtlVlm") or 0)
            for item, context, _ in listed(market, body)
            if not item.get("isDelisted")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError(f"not a context: {error!r}") from error


class HyperliquidHistory:
    """`recentTrades` has neither range nor page. Nodes of one's own may refuse it (422)."""

    reach = "the newest few trades, no older ones"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        asked = {"type": "recentTrades", "coin": hole.symbol}
        return Request(PATH, WEIGHT, msgspec.json.encode(asked).decode())

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        try:
            trades = [
                self._trade(hole.symbol, item, recv_us)
                for item in msgspec.json.decode(body, type=list[dict[str, Any]])
            ]
        except (KeyError, TypeError, ValueError) as error:  # also msgspec's
            raise BadAnswerError(f"not a list of trades: {error!r}") from error
        ids, times = {trade.trade_id for trade in trades}, [trade.ts for trade in trades]
        # The newest trades without a hole: those of the same time as the oldest may have been cut off.
        reaches_back = min(times, default=INFINITY) < hole.from_ts
        # An answer older than the hole's end says nothing of what came after it.
        up_to_date = hole.next_id in ids or max(times, default=0) > hole.to_ts
        return Page(trades, None, reaches_back and up_to_date)

    def _trade(self, symbol: str, item: dict[str, Any], recv_us: int) -> Trade:
        price, size, at, tid = number(item["px"]), number(item["sz"]), item["time"], item["tid"]
        if item["coin"] != symbol:
            raise ValueError(f"a trade of {item['coin']!r}, not {symbol}")
        if not (type(at) is int and type(tid) is int and 0 < at < MAX_MS and tid >= 0):
            raise ValueError(f"impossible time or id in {item!r}")
        if not (price > 0 and size > 0):
            raise ValueError(f"impossible price or size in {item!r}")
        where = ("hyperliquid", self._market, symbol)
        return Trade(at * 1000, recv_us, *where, TAKER[item["side"]], price, size, str(tid))
