"""What the connections of one feed share: the exchange module, the venue's limits, its REST, its instruments, the plan."""

from __future__ import annotations

import msgspec
import structlog

from collector.capture import Capture
from collector.exchanges import EXCHANGES
from collector.exchanges.base import Request, Stream
from collector.gate import Gates
from collector.instruments import UNANSWERED, Directory, Listing, fetch_listing, rest_url
from collector.rest import Rest
from collector.settings import FeedConfig
from collector.symbols import is_dynamic, needs_turnover

log = structlog.get_logger()


class Venue:
    """One a feed of the configuration."""

    def __init__(
        self, feed: FeedConfig, gates: Gates, directory: Directory, capture: Capture | None = None
    ) -> None:
        """`capture`: where its frames are kept."""
        self.feed = feed
        """With the symbols that are recorded now."""
        self.selectors = feed.symbols
        """What the configuration says."""
        self.dynamic = any(map(is_dynamic, feed.symbols))
        self.name = f"{feed.exchange}/{feed.market}"
        self.exchange = EXCHANGES[feed.exchange]
        self.plan: list[list[Stream]] = [] if self.dynamic else self.exchange.plan(feed)
        limits = self.exchange.limits
        self.gate = gates.of(self.exchange.ws_url(feed, [(feed.channels[0], feed.symbols[0])]), limits)
        self.listed = bool(rest_url(feed))
        """Whether the venue can be asked for its list."""
        url = rest_url(feed) or self.exchange.rest_url(feed.market)
        self.rest = Rest(url, gates.of(url, limits))
        self._directory = directory
        self.capture = capture
        if capture is not None:
            market = feed.market
            self.rest.on_answer = lambda request, body: capture.answered(market, url, request, body)

    def record(self, symbols: list[str]) -> None:
        """These from now on, for connections to come."""
        self.feed = msgspec.structs.replace(self.feed, symbols=symbols)
        self.plan = self.exchange.plan(self.feed)
        if self.dynamic:
            self._directory.keep_symbols(self.feed, self.selectors, symbols)

    def kept_symbols(self) -> list[str]:
        """Those that an earlier run chose by the same selectors, if any."""
        return self._directory.kept_symbols(self.feed, self.selectors)

    async def instruments(self) -> Listing:
        """By symbol; waited for where rows can't be made without them."""
        return await self._directory.of(self.feed, self.rest)

    async def capture_listing(self) -> None:
        """The capture needs the venue's list, however old the one is that is used: without it no rows can be made of it."""
        if self.capture is None or not self.listed:
            return
        capture = self.capture

        async def fetch(request: Request) -> bytes:
            body = await self.rest.fetch(request)
            capture.keep(self.feed.market, self.rest.base_url, request, body)
            return body

        try:
            await fetch_listing(self.feed, fetch)
        except UNANSWERED as error:
            log.warning(
                "the capture lacks the venue's list", feed=self.name, cause=f"{type(error).__name__}: {error}"
            )

    @property
    def known(self) -> Listing:
        """The newest list that was had."""
        return self._directory.known(self.feed)

    async def refreshed(self) -> Listing:
        """As the venue lists them now. Raises what `instruments.UNANSWERED` names."""
        return await self._directory.refresh(self.feed, self.rest)

    async def turnover(self) -> dict[str, float]:
        """By symbol, where a selector asks for it. Raises what `instruments.UNANSWERED` names."""
        if not needs_turnover(self.selectors):
            return {}
        market = self.feed.market
        body = await self.rest.fetch_once(self.exchange.turnover_request(market))
        return self.exchange.turnover(market, body)
