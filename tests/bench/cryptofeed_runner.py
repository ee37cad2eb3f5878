# mypy: ignore-errors
"""Cryptofeed 3 with its QuestDB back end, against a simulator. Runs in an environment of its own, without this project.

Arguments: one JSON object with `ws_url`, `questdb` (host, port), `symbols` (the exchange's names), `books` (levels stored
a side; 0: no books), `trades_key`, `books_key`, `queue` (keyword arguments of the back ends) and `attempts` (0: as
cryptofeed comes). Prints one line of JSON every quarter of a second: what was received and what became of it.

Bent by subclassing only: the socket's address (cryptofeed refuses ws://), and the list of instruments (the simulator's
has no contract types).
"""

import asyncio
import json
import logging
import sys

from cryptofeed import FeedHandler
from cryptofeed.backends.backend import RetryPolicy
from cryptofeed.backends.quest import BookQuest, TradeQuest
from cryptofeed.connection import WSAsyncConn
from cryptofeed.defines import L2_BOOK, PERPETUAL, TRADES
from cryptofeed.exchanges import Bybit
from cryptofeed.symbols import Symbol, Symbols

REPORT_SECONDS = 0.25


class LocalConnection(WSAsyncConn):
    def __init__(self, address, conn_id, subscription, **options):
        super().__init__("wss://local", conn_id, subscription=subscription, **options)
        self.address = address


class LocalBybit(Bybit):
    def __init__(self, url, **kwargs):
        self._url = url
        self.sockets = []
        super().__init__(**kwargs)

    @classmethod
    async def load_symbols(cls, conn=None, refresh=False, cache_ttl=None):
        return Symbols.get(cls.id)[0]

    def connect(self):
        (old, subscribe, handler), *_ = super().connect()
        connection = LocalConnection(self._url, self.id, old.subscription, **old.ws_kwargs)
        self.sockets.append(connection)
        return [(connection, subscribe, handler)]


async def report(handler, feed):
    while True:
        await asyncio.sleep(REPORT_SECONDS)
        backends = handler.backend_stats().get(feed.id, {})
        totals = {
            name: sum(getattr(stats, name) for stats in backends.values())
            for name in ("qsize", "written", "dropped_overflow", "dropped_failed", "retries")
        }
        received = sum(socket.stats.received for socket in feed.sockets)
        print(json.dumps({"received": received, **totals}), flush=True)


async def run(handler, feed):
    reporting = asyncio.create_task(report(handler, feed))
    try:
        await handler.run_async()
    finally:
        reporting.cancel()


def main():
    import uvloop

    options = json.loads(sys.argv[1])
    names = {name: Symbol(name.removesuffix("USDT"), "USDT", type=PERPETUAL) for name in options["symbols"]}
    Symbols.set(
        Bybit.id,
        {symbol.normalized: name for name, symbol in names.items()},
        {"instrument_type": {symbol.normalized: PERPETUAL for symbol in names.values()}},
    )
    host, port = options["questdb"]
    queue = dict(options["queue"])
    if options["attempts"]:
        queue["retry"] = RetryPolicy(max_attempts=options["attempts"])
    backends = {TRADES: TradeQuest(host, port, key=options["trades_key"], **queue)}
    if options["books"]:
        backends[L2_BOOK] = BookQuest(host, port, key=options["books_key"], depth=options["books"], **queue)
    handler = FeedHandler(config={"log": {"disabled": True}})
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    feed = LocalBybit(
        options["ws_url"],
        config=handler.config,
        symbols=[symbol.normalized for symbol in names.values()],
        channels=list(backends),
        callbacks=backends,
    )
    handler.add_feed(feed)
    uvloop.run(run(handler, feed))


main()
