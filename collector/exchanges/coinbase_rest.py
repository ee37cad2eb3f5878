"""Coinbase's REST (Exchange): products, turnover, and trades by id, walked back from the end of a hole."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.isotime import iso_us
from collector.exchanges.topic import INFINITY, number
from collector.rows import Trade

PAGE = 1000
TAKER = {"buy": "sell", "sell": "buy"}
"""REST tells the maker's side."""


def decoded(body: bytes, kind: type) -> Any:
    """Raises BadAnswerError."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadAnswerError(f"not JSON: {error}") from error
    if not isinstance(answer, kind):
        raise BadAnswerError(f"not a {kind.__name__}: {str(answer)[:100]}")
    return answer


def instruments_request(market: str) -> Request:
    return Request("/products")


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [instrument(item) for item in decoded(body, list)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a product: {error!r}") from error


def instrument(item: dict[str, Any]) -> Instrument:
    status = "disabled" if item.get("trading_disabled") else str(item.get("status", "online"))
    return Instrument(
        symbol=str(item["id"]),
        base=str(item.get("base_currency", "")),
        quote=str(item.get("quote_currency", "")),
        kind="spot",
        status="trading" if status == "online" else status,
        tick=number(item["quote_increment"]) if item.get("quote_increment") else None,
        lot=number(item["base_increment"]) if item.get("base_increment") else None,
    )


def turnover_request(market: str) -> Request:
    return Request("/products/stats")


def turnover(market: str, body: bytes) -> dict[str, float]:
    """Raises BadAnswerError."""
    try:
        return {
            name: number(item["stats_24hour"]["volume"]) * number(item["stats_24hour"]["last"])
            for name, item in decoded(body, dict).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not statistics: {error!r}") from error


class CoinbaseHistory:
    """Newest first, by id from the oldest trade after the hole backwards, until one is older than the hole: then it is
    complete for certain. Where that trade is not known, from the newest one on."""

    reach = "all trades, by id"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        return older(hole, int(hole.next_id) if hole.next_id.isdigit() else None)

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        items = decoded(body, list)
        try:
            trades = [self._trade(hole.symbol, item, recv_us) for item in items]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        if not trades:
            return Page([], None)
        oldest = min(trades, key=lambda trade: int(trade.trade_id))
        first, known = int(oldest.trade_id), int(hole.last_id) if hole.last_id.isdigit() else -1
        if oldest.ts < hole.from_ts or first <= known + 1:
            return Page(trades, None, complete=True)
        asked = parse_qs(urlsplit(request.path).query).get("after")
        if asked and first >= int(asked[0]):
            return Page(trades, None)  # not older than what was asked for: it would never end
        return Page(trades, older(hole, first))

    def _trade(self, symbol: str, item: dict[str, Any], recv_us: int) -> Trade:
        price, qty, trade_id = number(item["price"]), number(item["size"]), int(item["trade_id"])
        if not (price > 0 and 0 < qty < INFINITY and trade_id >= 0):
            raise ValueError(f"impossible trade {item!r}")
        where = ("coinbase", self._market, symbol)
        return Trade(iso_us(item["time"]), recv_us, *where, TAKER[item["side"]], price, qty, str(trade_id))


def older(hole: Hole, trade_id: int | None) -> Request:
    after = "" if trade_id is None else f"&after={trade_id}"
    return Request(f"/products/{hole.symbol}/trades?limit={PAGE}{after}")
