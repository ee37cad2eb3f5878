"""Whose side Coinbase's `market_trades` tells: some read the taker's; Coinbase Exchange documents the maker's for the same
trades.

So it is found out anew for each connection: REST, which is documented to tell the maker's, is asked for the newest trades.
One that has the other side there shows that the socket tells the taker's. Until REST has answered trades are held back;
after ten seconds without an answer the taker's side is assumed, and an event says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from collector.exchanges.base import Fetch, Item, Notice, Request
from collector.exchanges.topic import Topic
from collector.rows import Trade

PAGE = 1000
WAIT_US, ASK_AGAIN_US = 10_000_000, 3_000_000
MOST_HELD = 5000
"""Trades of a product, while they wait."""
OPPOSITE = {"buy": "sell", "sell": "buy"}


class TradeSides:
    """What one connection knows of it."""

    def __init__(self) -> None:
        self.takers: bool | None = None
        """None: not known yet."""
        self._since = 0
        self._asked_at = 0

    def turned(self, rows: Sequence[Trade]) -> Sequence[Trade]:
        """Rows with the side as told by the socket → with that of the taker."""
        if self.takers:
            return rows
        return [msgspec.structs.replace(row, side=OPPOSITE[row.side or ""]) for row in rows]

    def look(self, topic: Topic, product: str, held: int, recv_us: int, out: list[Item]) -> None:
        """Ask REST if it is time, or give up waiting."""
        self._since = self._since or recv_us
        if recv_us - self._since >= WAIT_US or held >= MOST_HELD:
            self.assume(topic, out)
        elif not self._asked_at or recv_us - self._asked_at >= ASK_AGAIN_US:
            self._asked_at = recv_us
            out.append(Fetch(Request(f"/products/{product}/trades?limit={PAGE}"), topic.name))

    def assume(self, topic: Topic, out: list[Item]) -> None:
        self.takers = True
        detail = "no trade of REST to compare with: the side is taken for the taker's"
        out.append(Notice("side_assumed", detail, topic.channel, topic.symbol))

    def compare(
        self, topic: Topic, held: Sequence[Trade], makers: Mapping[str, str], out: list[Item]
    ) -> None:
        """`makers`: trade id → the maker's side. Nothing is decided where no trade is in both, or they contradict."""
        differ = {row.side != makers[row.trade_id] for row in held if row.trade_id in makers}
        if len(differ) == 1:
            (self.takers,) = differ
            if not self.takers:
                out.append(Notice("side_is_makers", "sides are turned round", topic.channel, topic.symbol))
