"""What the venues list: whether the configured symbols exist, and how large their contracts are."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import httpx
import msgspec
import structlog

from collector.backoff import backoff
from collector.config import ConfigError
from collector.exchanges import EXCHANGES
from collector.exchanges.base import BadAnswerError, Instrument, Request
from collector.gate import Gates
from collector.rest import RequestRefusedError, Rest
from collector.rows import ListedInstrument
from collector.settings import FeedConfig
from collector.symbols import hint, is_dynamic

log = structlog.get_logger()

MAX_PAGES = 50
RETRY_FIRST, RETRY_CAP = 1.0, 60.0
DAY_US = 86_400_000_000
Listing: TypeAlias = "dict[str, Instrument]"
"""By symbol."""


def check_feeds(feeds: Sequence[FeedConfig]) -> None:
    """Venue, market and channels against the registry. Raises ConfigError."""
    for index, feed in enumerate(feeds):
        where = f"configuration: key feeds[{index}]"
        exchange = EXCHANGES.get(feed.exchange)
        if exchange is None:
            raise ConfigError(
                f'{where}.exchange: "{feed.exchange}" is unknown; there are {", ".join(sorted(EXCHANGES))}'
            )
        if feed.market not in exchange.markets:
            raise ConfigError(
                f'{where}.market: {feed.exchange} has no market "{feed.market}"; '
                f"there are {', '.join(sorted(exchange.markets))}"
            )
        for channel in feed.channels:
            if channel not in exchange.channels(feed.market):
                raise ConfigError(
                    f"{where}.channels: {feed.exchange} {feed.market} has no {channel}; "
                    f"there are {', '.join(sorted(exchange.channels(feed.market)))}"
                )


def rest_url(feed: FeedConfig) -> str:
    """Where the feed's venue is asked; "" where a simulator or a proxy stands in for its streams alone."""
    if feed.ws_url and not feed.rest_url:
        return ""
    return feed.rest_url or EXCHANGES[feed.exchange].rest_url(feed.market)


async def fetch_listing(feed: FeedConfig, fetch: Callable[[Request], Awaitable[bytes]]) -> Listing:
    """All instruments of the feed's market. Raises what `fetch` raises, and BadAnswerError."""
    exchange = EXCHANGES[feed.exchange]
    listing: Listing = {}
    cursor = ""
    for _ in range(MAX_PAGES):
        body = await fetch(exchange.instruments_request(feed.market, cursor))
        page, cursor = exchange.instruments(feed.market, body)
        listing |= {item.symbol: item for item in page}
        if not cursor:
            break
    return listing


def fetch_once(feed: FeedConfig) -> Listing:
    """As `fetch_listing`, in one attempt. Raises httpx.HTTPError, RequestRefusedError or BadAnswerError."""

    async def ask() -> Listing:
        url = rest_url(feed)
        rest = Rest(url, Gates().of(url, EXCHANGES[feed.exchange].limits))
        try:
            return await fetch_listing(feed, rest.fetch_once)
        finally:
            await rest.close()

    return asyncio.run(ask())


UNANSWERED = (httpx.HTTPError, RequestRefusedError, BadAnswerError)


class Directory:
    """The instruments of every market that is recorded: asked for at the start, and kept in a folder for starts at which
    the venue can't be asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listings: dict[tuple[str, str, str], Listing] = {}

    def check(self, feeds: Sequence[FeedConfig]) -> None:
        """Every configured symbol must exist. A venue that can't be asked is logged: the WebSocket will tell.

        Raises ConfigError."""
        for feed in feeds:
            if not rest_url(feed) or self._key(feed) in self._listings:
                continue
            try:
                self._listings[self._key(feed)] = fetch_once(feed)
            except UNANSWERED as error:
                log.warning(
                    "symbols not checked: the venue's REST did not answer",
                    exchange=feed.exchange,
                    market=feed.market,
                    cause=f"{type(error).__name__}: {error}",
                    remedy="none needed; the feed reports symbols that are refused",
                )
                self._recall(feed)
        for index, feed in enumerate(feeds):
            known = self._listings.get(self._key(feed), {})
            for symbol in feed.symbols:
                if known and not is_dynamic(symbol) and symbol not in known:
                    raise ConfigError(
                        f"configuration: key feeds[{index}].symbols: {feed.exchange} {feed.market} has no symbol "
                        f'"{symbol}"{hint(symbol, known)}'
                    )

    def known(self, feed: FeedConfig) -> Listing:
        """The newest list that was had; empty before any."""
        return self._listings.get(self._key(feed), {})

    async def refresh(self, feed: FeedConfig, rest: Rest) -> Listing:
        """As the venue lists them now, in one attempt. Raises one of UNANSWERED."""
        listing = await fetch_listing(feed, rest.fetch_once)
        if not listing:
            raise BadAnswerError("the venue lists nothing")
        self._listings[self._key(feed)] = listing
        self.save()
        return listing

    async def of(self, feed: FeedConfig, rest: Rest) -> Listing:
        """The feed's instruments; those of a venue that needs them are waited for, for ever."""
        if self._key(feed) not in self._listings and EXCHANGES[feed.exchange].needs_instruments(feed.market):
            delays = backoff(RETRY_FIRST, RETRY_CAP)
            while self._key(feed) not in self._listings:
                try:
                    self._listings[self._key(feed)] = await fetch_listing(feed, rest.fetch)
                    self.save()
                except (RequestRefusedError, BadAnswerError) as error:
                    log.error(
                        "instruments can't be had, and rows can't be made without them; trying again",
                        exchange=feed.exchange,
                        market=feed.market,
                        cause=str(error),
                        remedy="check the feed's rest_url",
                    )
                    await asyncio.sleep(next(delays))
        return self._listings.get(self._key(feed), {})

    def _key(self, feed: FeedConfig) -> tuple[str, str, str]:
        return feed.exchange, feed.market, feed.rest_url

    def save(self) -> None:
        """For the next start."""
        for (exchange, market, _), listing in self._listings.items():
            try:
                (self._folder / f"instruments-{exchange}-{market}.json").write_bytes(
                    msgspec.json.encode(list(listing.values()))
                )
            except OSError as error:
                log.warning("instruments not kept for the next start", cause=str(error))

    def keep_symbols(self, feed: FeedConfig, selectors: list[str], symbols: list[str]) -> None:
        """For a start at which the venue can't be asked."""
        try:
            self._choice(feed, selectors).write_bytes(msgspec.json.encode(symbols))
        except OSError as error:
            log.warning("chosen symbols not kept for the next start", cause=str(error))

    def kept_symbols(self, feed: FeedConfig, selectors: list[str]) -> list[str]:
        try:
            return msgspec.json.decode(self._choice(feed, selectors).read_bytes(), type=list[str])
        except (OSError, msgspec.DecodeError):
            return []

    def _choice(self, feed: FeedConfig, selectors: list[str]) -> Path:
        told = zlib.crc32(" ".join(selectors).encode())
        return self._folder / f"symbols-{feed.exchange}-{feed.market}-{told:08x}.json"

    def _recall(self, feed: FeedConfig) -> None:
        try:
            kept = self._folder / f"instruments-{feed.exchange}-{feed.market}.json"
            items = msgspec.json.decode(kept.read_bytes(), type=list[Instrument])
        except (OSError, msgspec.DecodeError):
            return
        self._listings[self._key(feed)] = {item.symbol: item for item in items}


def listed_rows(feed: FeedConfig, listing: Listing, now: int) -> Iterator[ListedInstrument]:
    """Rows of `instruments`: one a symbol and day, so that a restart adds none."""
    for item in listing.values():
        yield ListedInstrument(
            now - now % DAY_US,
            now,
            feed.exchange,
            feed.market,
            item.symbol,
            f"{item.base}-{item.quote}-{item.kind}".upper(),
            item.base,
            item.quote,
            item.kind,
            item.status,
            item.contract_size,
            item.inverse,
            item.tick,
            item.lot,
        )
