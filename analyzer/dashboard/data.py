"""What the page asks for every few seconds: JSON over HTTP, made once for all browsers, and not sent again unchanged."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import flask
import msgspec

from analyzer.audit.settings import AuditConfig
from analyzer.dashboard import alerts, market, system, tiles
from analyzer.dashboard.cache import Cache
from analyzer.dashboard.figures import Chart
from analyzer.dashboard.panels import MARKET
from analyzer.dashboard.ranges import DEFAULT_RANGE, RANGES, Range
from analyzer.dashboard.reader import Instrument, QueryError, Reader, UnavailableError
from analyzer.logs import masked

Document = dict[str, Any]
Key = tuple[object, ...]

ENTRIES = 64
"""Answers kept: each is at most a few hundred kilobytes, and compressed."""
STATUS_FRESH_S, SYMBOLS_FRESH_S = 3.0, 60.0
AWAY_S = 2.0
"""So long QuestDB is not asked again after it gave no answer: browsers do not queue behind time-outs."""
NAME_LENGTH = 100
NO_SYMBOL = Chart(empty="nothing is recorded yet: start `collector run`, and choose a symbol then")


class Body(msgspec.Struct, frozen=True):
    """An answer, ready to be sent."""

    zipped: bytes
    etag: str


class Data:
    """The answers: how things are now, the system's charts, one symbol's, and the symbols that there are."""

    def __init__(self, reader: Reader, limits: AuditConfig) -> None:
        self._reader, self._limits = reader, limits
        self._cache: Cache[Body] = Cache(ENTRIES)
        self._away = ""
        self._away_until = 0.0

    def register(self, server: flask.Flask) -> None:
        server.add_url_rule("/data/status", view_func=self.status)
        server.add_url_rule("/data/system", view_func=self.system)
        server.add_url_rule("/data/market", view_func=self.market)
        server.add_url_rule("/data/symbols", view_func=self.symbols)
        server.add_url_rule("/health/live", view_func=lambda: _json({"live": True}, 200))
        for path in ("/health", "/health/ready"):
            server.add_url_rule(path, view_func=self.health)

    def status(self) -> flask.Response:
        return self._answer(("status",), STATUS_FRESH_S, self._status)

    def _status(self) -> Document:
        return {
            "tiles": tiles.tiles(self._reader, datetime.now(UTC), self._limits),
            "alerts": alerts.alerts(self._reader),
        }

    def system(self) -> flask.Response:
        span = _range()

        def make() -> Document:
            return {"charts": system.charts(self._reader, span, datetime.now(UTC), self._limits)}

        return self._answer(("system", span.name), span.fresh_s, make)

    def market(self) -> flask.Response:
        span, name = _range(), instrument(flask.request.args.get("symbol", ""))

        def make() -> Document:
            if name is None:
                return {"charts": dict.fromkeys((panel.name for panel in MARKET), NO_SYMBOL)}
            return {"charts": market.charts(self._reader, name, span, datetime.now(UTC))}

        return self._answer(("market", span.name, name), span.fresh_s, make)

    def symbols(self) -> flask.Response:
        def make() -> Document:
            try:
                names = market.symbols(self._reader)
            except QueryError:
                names = []
            return {
                "symbols": [
                    {"value": ":".join(name), "label": f"{name[2]} · {name[0]} {name[1]}"} for name in names
                ]
            }

        return self._answer(("symbols",), SYMBOLS_FRESH_S, make)

    def health(self) -> flask.Response:
        """Open to all, and tells no more than whether QuestDB answers."""
        try:
            self._body(("status",), STATUS_FRESH_S, self._status)
        except UnavailableError:
            return _json({"live": True, "ready": False}, 503)
        return _json({"live": True, "ready": True}, 200)

    def _answer(self, key: Key, fresh_s: float, make: Callable[[], Document]) -> flask.Response:
        try:
            made = self._body(key, fresh_s, make)
        except UnavailableError as error:
            return _json({"error": masked(str(error)), "tiles": tiles.away(), "alerts": None}, 200)
        response = flask.Response(made.zipped, mimetype="application/json")
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(made.etag)
        response.make_conditional(flask.request)
        return response

    def _body(self, key: Key, fresh_s: float, make: Callable[[], Document]) -> Body:
        """Raises UnavailableError; at once where QuestDB gave no answer a moment ago."""

        def compute() -> Body:
            text = msgspec.json.encode(make())
            return Body(gzip.compress(text, 5, mtime=0), hashlib.blake2b(text, digest_size=12).hexdigest())

        if time.monotonic() < self._away_until:
            raise UnavailableError(self._away)
        try:
            return self._cache.get(key, fresh_s, compute)
        except UnavailableError as error:
            self._away, self._away_until = str(error), time.monotonic() + AWAY_S
            raise


def _range() -> Range:
    return RANGES.get(flask.request.args.get("range", ""), RANGES[DEFAULT_RANGE])


def instrument(text: str) -> Instrument | None:
    """ "exchange:market:symbol"; a symbol may have colons of its own."""
    parts = text.split(":", 2)
    if len(text) > NAME_LENGTH or len(parts) != 3 or not all(parts):
        return None
    return parts[0], parts[1], parts[2]


def _json(document: object, status: int) -> flask.Response:
    response = flask.Response(msgspec.json.encode(document), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
