"""Asks the venues, before anything starts, whether the configured symbols exist."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import structlog

from collector.config import ConfigError, FeedConfig
from collector.exchanges import EXCHANGES
from collector.exchanges.base import BadAnswerError

log = structlog.get_logger()

TIMEOUT = 10.0
MAX_PAGES = 50


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


def fetch_symbols(feed: FeedConfig) -> set[str]:
    """All symbols of the feed's market. Raises httpx.HTTPError or BadAnswerError."""
    exchange = EXCHANGES[feed.exchange]
    symbols: set[str] = set()
    cursor = ""
    with httpx.Client(base_url=feed.rest_url or exchange.rest_url(feed.market), timeout=TIMEOUT) as client:
        for _ in range(MAX_PAGES):
            response = client.get(exchange.instruments_path(feed.market, cursor))
            response.raise_for_status()
            page, cursor = exchange.instruments(response.content)
            symbols |= page
            if not cursor:
                break
    return symbols


def check_symbols(feeds: Sequence[FeedConfig]) -> None:
    """Every configured symbol must exist. A venue that can't be asked is logged: the WebSocket will tell.

    Raises ConfigError."""
    for index, feed in enumerate(feeds):
        if feed.ws_url and not feed.rest_url:
            continue  # a simulator or a proxy: the venue's own REST would speak of other symbols
        try:
            known = fetch_symbols(feed)
        except (httpx.HTTPError, BadAnswerError) as error:
            log.warning(
                "symbols not checked: the venue's REST did not answer",
                exchange=feed.exchange,
                market=feed.market,
                cause=f"{type(error).__name__}: {error}",
                remedy="none needed; the feed reports symbols that are refused",
            )
            continue
        for symbol in feed.symbols:
            if symbol not in known:
                near = sorted(name for name in known if name.lower() == symbol.lower() or symbol in name)[:3]
                hint = f"; did you mean {', '.join(near)}?" if near else "; use the exchange's own name"
                raise ConfigError(
                    f"configuration: key feeds[{index}].symbols: {feed.exchange} {feed.market} has no symbol "
                    f'"{symbol}"{hint}'
                )
