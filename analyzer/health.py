"""/health (JSON: live, ready, why not) and /metrics (Prometheus) of `analyzer schedule`, on a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from analyzer.config import ConfigError
from analyzer.logs import masked

WANTED = {"/health": ("live", "ready"), "/health/live": ("live",), "/health/ready": ("ready",)}
"""Path → what must be true for 200; else it is 503. The body is the same."""
LOOK_SECONDS = 0.1
"""Between looks whether it is to be closed: a stop takes no longer."""


class Figure(msgspec.Struct, frozen=True):
    """One number for Prometheus."""

    name: str
    text: str
    value: float
    counter: bool = True


class _Figures(Collector):
    def __init__(self, read: Callable[[], list[Figure]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for one in self._read():
            family = CounterMetricFamily if one.counter else GaugeMetricFamily
            yield family(f"evenkeel_analyzer_{one.name}", one.text, value=one.value)


class HealthServer:
    """Serves until closed. Raises ConfigError when the address can't be had."""

    def __init__(
        self, listen: str, health: Callable[[], dict[str, Any]], figures: Callable[[], list[Figure]]
    ) -> None:
        registry = CollectorRegistry()
        registry.register(_Figures(figures))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if (wanted := WANTED.get(self.path)) is not None:
                    state = health()
                    good = all(state[key] for key in wanted)
                    body = masked(msgspec.json.encode(state).decode())
                    self._answer(200 if good else 503, "application/json", body.encode())
                elif self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                else:
                    self._answer(404, "text/plain", b"/health, /health/live, /health/ready or /metrics\n")

            def _answer(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Scrapes are not worth a line."""

        host, _, port = listen.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f'analyzer.listen {listen}: can\'t be bound ({error}); choose another port, or "" for none'
            ) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, args=(LOOK_SECONDS,), name="health", daemon=True
        ).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
