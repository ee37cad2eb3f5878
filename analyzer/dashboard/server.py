"""The server: a fixed number of threads, bounded requests, no state of its own but the cache."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import flask
import structlog
import waitress

from analyzer.audit.settings import AuditConfig
from analyzer.config import Config, UnreachableError, endpoint
from analyzer.dashboard.access import Access, Address
from analyzer.dashboard.data import Data
from analyzer.dashboard.page import build
from analyzer.dashboard.reader import Reader

THREADS = 8
CONNECTIONS = 200
REQUEST_BYTES = 64 << 10
IDLE_S = 60

log = structlog.get_logger()


class ListenError(Exception):
    """The address can't be had."""


def application(reader: Reader, token: str, limits: AuditConfig) -> flask.Flask:
    """The WSGI application: page, data, and the guard before both. `limits` say what is worth a warning."""
    server = flask.Flask("evenkeel")
    Access(token).register(server)
    Data(reader, limits).register(server)
    build(server)
    return server


def serve(config: Config, address: Address, token: str) -> None:
    """Until SIGTERM or SIGINT. Raises ConfigError, ListenError."""
    try:
        where = endpoint(config.questdb).http_url
    except UnreachableError as error:
        where = str(error)  # the page says so, and finds it when it is there
    reader = Reader(lambda: endpoint(config.questdb))
    try:
        server = waitress.create_server(
            application(reader, token, config.audit),
            host=address.host,
            port=address.port,
            threads=THREADS,
            connection_limit=CONNECTIONS,
            max_request_body_size=REQUEST_BYTES,
            channel_timeout=IDLE_S,
            ident=None,
            # Whether a reverse proxy on this machine was asked over TLS: its cookie is for TLS only then.
            trusted_proxy="127.0.0.1",
            trusted_proxy_count=1,
            trusted_proxy_headers={"x-forwarded-proto"},
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise ListenError(
            f"--listen {address.host}:{address.port}: can't be bound ({error.strerror}); choose another address or port"
        ) from error

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    shown = Address(address.host, server.effective_port, address.loopback)
    log.info("dashboard", url=shown.url, questdb=where, token="required" if token else "none, loopback only")
    if not address.loopback:
        log.warning(
            "others can reach this address, and HTTP shows the token to the network between",
            remedy="put a reverse proxy with TLS before it (docs/dashboard.md)",
        )
    print(shown.url, flush=True)  # noqa: T201 - for people, and for whoever started it on port 0
    try:
        server.run()
    finally:
        server.close()
        reader.close()
        sys.stdout.flush()
