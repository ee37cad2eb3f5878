"""What the connections of one feed share: the exchange module, the venue's limits, its REST, its instruments."""

from __future__ import annotations

from collector.config import FeedConfig
from collector.exchanges import EXCHANGES
from collector.gate import Gates
from collector.instruments import Directory, Listing, rest_url
from collector.rest import Rest


class Venue:
    """One a feed of the configuration."""

    def __init__(self, feed: FeedConfig, gates: Gates, directory: Directory) -> None:
        self.feed = feed
        self.name = f"{feed.exchange}/{feed.market}"
        self.exchange = EXCHANGES[feed.exchange]
        self.plan = self.exchange.plan(feed)
        limits = self.exchange.limits
        self.gate = gates.of(self.exchange.ws_url(feed, self.plan[0]), limits)
        url = rest_url(feed) or self.exchange.rest_url(feed.market)
        self.rest = Rest(url, gates.of(url, limits))
        self._directory = directory

    async def instruments(self) -> Listing:
        """By symbol; waited for where rows can't be made without them."""
        return await self._directory.of(self.feed, self.rest)
