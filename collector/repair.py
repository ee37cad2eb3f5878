"""Fills declared holes in trades and liquidations from the venue's REST. The table `gaps` is the queue, so that a hole waits
there through restarts of either side, whoever has declared it; rows fetched twice deduplicate by their key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
import structlog

from collector.connection import now_us
from collector.database.endpoint import DatabaseError, Endpoint, connect
from collector.exchanges.base import REPAIRABLE, BadAnswerError, History, Hole, Instrument
from collector.rest import RequestRefusedError, Rest
from collector.rows import Gap, Row, Trade
from collector.settings import FeedConfig
from collector.venue import Venue

log = structlog.get_logger()

LOOK_SECONDS = 10.0
SETTLE_US = 3_000_000
"""How long after a hole was noticed the venue is asked: it must show the trades by then."""
HORIZON_US = 7 * 86_400_000_000
"""Older holes are left to `collector repair`."""
AT_ONCE = 100
"""Holes taken from the queue at once."""
MOST_PAGES = 500
"""Of one hole; what is left of it is for the next `collector repair`."""
NEIGHBOUR_US = 3_600_000_000
"""How far from a hole the trades next to it are looked for."""


class Outcome(msgspec.Struct, frozen=True):
    gap: Gap
    """As it is to be stored."""
    detail: str = ""


class Repair:
    """One venue's holes. `store` takes rows; it may wait for room."""

    def __init__(self, venue: Venue, store: Callable[[Row], None]) -> None:
        self._venue, self._store = venue, store
        feed = venue.feed
        self._histories = {channel: venue.exchange.history(feed.market, channel) for channel in REPAIRABLE}

    async def fill(self, gap: Gap, last_id: str, next_id: str) -> Outcome:
        """Ask for the rows of one hole, store them and the gap's new state."""
        assert gap.to_ts is not None
        history = self._histories[gap.channel]
        if history is None:
            return self._told(gap, "unavailable", 0)
        listing = await self._venue.instruments()
        hole = Hole(gap.symbol, gap.from_ts, gap.to_ts, last_id, next_id)
        try:
            found, complete = await self._fetch(hole, history, listing.get(gap.symbol), self._venue.rest)
        except (RequestRefusedError, BadAnswerError) as error:
            return self._told(gap, "failed", 0, str(error))
        return self._told(gap, "complete" if complete else "partial" if found else "none", found)

    async def _fetch(
        self, hole: Hole, history: History, instrument: Instrument | None, rest: Rest
    ) -> tuple[int, bool]:
        """How many rows of the hole came, and whether these are all."""
        ids: set[str] = set()
        request = history.request(hole, instrument)
        for _ in range(MOST_PAGES):
            body = await rest.fetch(request)
            page = history.page(hole, instrument, request, body, now_us())
            for row in page.rows:
                row_id = row.trade_id if isinstance(row, Trade) else row.liq_id
                if hole.from_ts <= row.ts <= hole.to_ts and row_id not in ids:
                    ids.add(row_id)
                    self._store(row)
            if page.complete or page.next is None:
                return len(ids), page.complete
            request = page.next
        return len(ids), False

    def _told(self, gap: Gap, state: str, found: int, detail: str = "") -> Outcome:
        row = msgspec.structs.replace(gap, repaired=state == "complete", repair=state, recovered=found)
        self._store(row)
        log.info(
            "gap repaired" if row.repaired else "gap not repaired, or in part",
            exchange=gap.exchange,
            market=gap.market,
            symbol=gap.symbol,
            channel=gap.channel,
            repair=state,
            rows=found,
            **({"cause": detail} if detail else {}),
        )
        return Outcome(row, detail)


class Repairer:
    """Does so for one venue of a running collector, for ever."""

    def __init__(
        self, venue: Venue, store: Callable[[Row], None], endpoint: Callable[[], Endpoint | None]
    ) -> None:
        """`endpoint()`: the database, None while it has not been reached."""
        self._venue, self._endpoint = venue, endpoint
        self._repair = Repair(venue, store)
        self._tried: set[tuple[str, str, int, str]] = set()
        """Holes whose new state may not be in the table yet; at most AT_ONCE."""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            endpoint = self._endpoint()
            if endpoint is None:
                continue
            now = now_us()
            try:
                gaps = await asyncio.to_thread(
                    waiting, endpoint, self._venue.feed, now - HORIZON_US, now - SETTLE_US
                )
                self._tried &= {_key(gap) for gap in gaps}
                for gap in gaps:
                    if _key(gap) not in self._tried:
                        neighbours = await asyncio.to_thread(beside, endpoint, gap)
                        await self._repair.fill(gap, *neighbours)
                        self._tried.add(_key(gap))
            except (psycopg.Error, DatabaseError) as error:
                log.debug("repair waits for the database", cause=str(error))


def _key(gap: Gap) -> tuple[str, str, int, str]:
    return gap.channel, gap.symbol, gap.from_ts, gap.collector


def is_repairable(feed: FeedConfig) -> bool:
    """Whether the feed records a channel whose holes can be asked for."""
    return bool(set(REPAIRABLE) & set(feed.channels))


def waiting(
    endpoint: Endpoint,
    feed: FeedConfig,
    since_us: int,
    until_us: int,
    again: bool = False,
    most: int = AT_ONCE,
) -> list[Gap]:
    """Holes in the feed's trades and liquidations that have ended, were noticed before `until_us` and begin after
    `since_us`, oldest first; those not tried yet, or (`again`) all that are not whole.

    Raises psycopg.Error or DatabaseError."""
    tried = "NOT repaired" if again else "repair IS NULL"
    symbols = ", ".join(["%s"] * len(feed.symbols))
    channels = [channel for channel in REPAIRABLE if channel in feed.channels]
    named = ", ".join(["%s"] * len(channels))
    with connect(endpoint) as connection:
        rows = connection.execute(
            "SELECT from_ts::long, to_ts::long, recv_ts::long, symbol, channel, cause, missing, "  # noqa: S608 - ours
            "coalesce(collector, '') FROM gaps "
            f"WHERE exchange = %s AND market = %s AND symbol IN ({symbols}) AND channel IN ({named}) "
            f"AND ts >= {since_us} AND to_ts IS NOT NULL AND recv_ts < {until_us} AND {tried} ORDER BY ts LIMIT {most}",
            (feed.exchange, feed.market, *feed.symbols, *channels),
        ).fetchall()
    return [
        Gap(
            first,
            last,
            noticed,
            feed.exchange,
            feed.market,
            symbol,
            channel,
            cause,
            missing,
            collector=collector,
        )
        for first, last, noticed, symbol, channel, cause, missing, collector in rows
    ]


def beside(endpoint: Endpoint, gap: Gap) -> tuple[str, str]:
    """Ids of the newest trade before a hole in trades and of the oldest after it, "" where there is none within an hour."""
    assert gap.to_ts is not None
    if gap.channel != "trades":
        return "", ""
    with connect(endpoint) as connection:

        def ids(bounds: str, order: str) -> list[str]:
            rows: list[tuple[Any, ...]] = connection.execute(
                "SELECT ts, trade_id FROM trades WHERE exchange = %s AND market = %s AND symbol = %s "  # noqa: S608
                f"AND {bounds} ORDER BY ts {order} LIMIT 100",
                (gap.exchange, gap.market, gap.symbol),
            ).fetchall()
            return [trade_id for ts, trade_id in rows if ts == rows[0][0]]

        before = ids(f"ts < {gap.from_ts} AND ts > {gap.from_ts - NEIGHBOUR_US}", "DESC")
        after = ids(f"ts > {gap.to_ts} AND ts < {gap.to_ts + NEIGHBOUR_US}", "ASC")
    return _extreme(before, max), _extreme(after, min)


def _extreme(ids: Sequence[str], choose: Callable[..., str]) -> str:
    """Of trades at one time: by number, where the venue numbers them."""
    if not ids:
        return ""
    return choose(ids, key=int) if all(trade_id.isdigit() for trade_id in ids) else ids[0]
