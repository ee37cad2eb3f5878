"""The sections of the configuration: their keys, defaults, units and checks. They are read by `config.load`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from collector.symbols import top_of

CHANNELS = ("trades", "orderbook", "liquidations", "tickers")


class Duration(float):
    """Seconds, written "500ms", "30s", "5m", "2h", "7d"."""

    UNITS: ClassVar = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

    @classmethod
    def parse(cls, text: str) -> Duration:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", text)
        if match is None:
            raise ValueError(
                f'"{text}" is not a duration; write for example "500ms", "30s", "5m", "2h" or "7d"'
            )
        return cls(float(match[1]) * cls.UNITS[match[2]])


class Size(int):
    """Bytes, written "64MiB", "10GiB"."""

    UNITS: ClassVar = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

    @classmethod
    def parse(cls, text: str) -> Size:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)", text)
        if match is None:
            raise ValueError(f'"{text}" is not a size; write for example "512MiB" or "10GiB"')
        return cls(float(match[1]) * cls.UNITS[match[2]])


class QuestDBConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    url: str = "managed"
    pg: str = ""
    data: str = "var/questdb"
    """Managed server only: its folder."""
    http_port: int = 9000
    """Managed server only; 0 takes any free port."""
    pg_port: int = 8812
    memory: Size = Size(512 << 20)
    """Managed server only: the JVM's heap."""
    disk: str = ""
    """A folder on the server's disk, watched for `min_free`, where a server by URL is on this machine."""
    min_free: Size = Size(256 << 20)
    """With less than this on the server's disk nothing is sent to it."""
    user: str = ""
    password: str = ""
    reader: str = ""
    """A user that may only read, over PGWire: for the analyzer, Grafana and consoles. A managed server is given it."""
    reader_password: str = ""

    def __post_init__(self) -> None:
        if bool(self.reader) != bool(self.reader_password):
            raise ValueError(
                "reader needs a password: set EVENKEEL_QUESTDB_READER and …_READER_PASSWORD_FILE"
            )
        if self.url == "managed":
            return
        parts = urlsplit(self.url)
        if parts.username or parts.password:
            raise ValueError(
                "url must not hold a password; set EVENKEEL_QUESTDB_USER and EVENKEEL_QUESTDB_PASSWORD_FILE"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f'url "{self.url}" must be "managed", "http://host:port" or "https://host:port"')

    @property
    def watched_disk(self) -> Path | None:
        """Where the server's disk can be looked at from here."""
        folder = self.data if self.url == "managed" else self.disk
        return Path(folder) if folder else None


class JournalConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    path: str = "var/journal"
    max_bytes: Size = Size(10 << 30)
    fsync_interval: Duration = Duration(0.5)
    segment_bytes: Size = Size(64 << 20)
    retain: Duration = Duration(300)
    """Acknowledged segments stay this long…"""
    retain_bytes: Size = Size(1 << 30)
    """…or until there are this many bytes of them."""

    def __post_init__(self) -> None:
        if self.segment_bytes < 1 << 16:
            raise ValueError("segment_bytes must be at least 64KiB")
        if self.max_bytes < 2 * self.segment_bytes:
            raise ValueError("max_bytes must be at least twice segment_bytes")
        if not 0.01 <= self.fsync_interval <= 60:
            raise ValueError('fsync_interval must be between "10ms" and "60s"')


class FeedConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    exchange: str
    market: str
    symbols: list[str]
    channels: list[str] = msgspec.field(default_factory=lambda: list(CHANNELS))
    book_depth: int = 50
    book_interval: Duration = Duration(0.1)
    ws_url: str = ""
    rest_url: str = ""
    silence: Duration = Duration(30)
    """A connection that brings nothing for this long is replaced."""
    stream_silence: Duration = Duration(120)
    """A book or ticker that brings nothing for this long is subscribed anew."""
    trades_silence: Duration = Duration(600)
    """So are trades; each time in vain doubles the wait."""
    max_age: Duration = Duration(0)
    """A connection is replaced, with overlap, at this age; 0: shortly before the exchange cuts it, where it does."""
    symbols_refresh: Duration = Duration(8 * 3600)
    """How often the venue's list is looked at again: for patterns, `top:N`, and what was delisted."""
    connections: int = 1
    """Sockets that bring the same streams; their rows deduplicate in the database."""
    repair: bool = True
    """Fetch missing trades over REST."""
    capture: str = ""
    """A folder for the frames themselves; empty: they are not kept."""
    capture_bytes: Size = Size(10 << 30)
    """Of an exchange's captured files in that folder; the oldest ones make room."""

    def __post_init__(self) -> None:
        if not self.symbols:
            raise ValueError("symbols is empty; name at least one")
        if len(set(self.symbols)) != len(self.symbols):
            raise ValueError("symbols names one of them twice")
        for symbol in self.symbols:
            if symbol.startswith("top:"):
                top_of(symbol)
            if not symbol or not symbol.isprintable() or len(symbol) > 64:
                raise ValueError(f"symbol {symbol!r} must be 1 to 64 printable characters")
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise ValueError("channels must name each channel once, at least one")
        for channel in self.channels:
            if channel not in CHANNELS:
                raise ValueError(f'unknown channel "{channel}"; there are {", ".join(CHANNELS)}')
        if not 1 <= self.book_depth <= 1000:
            raise ValueError("book_depth must be between 1 and 1000")
        if min(self.silence, self.stream_silence, self.trades_silence) < 1:
            raise ValueError('silence, stream_silence and trades_silence must be at least "1s"')
        if self.symbols_refresh < 1:
            raise ValueError('symbols_refresh must be at least "1s"')
        if not 1 <= self.connections <= 4:
            raise ValueError("connections must be between 1 and 4")
        if self.capture_bytes < 16 << 20:
            raise ValueError('capture_bytes must be at least "16MiB"')
        if 0 < self.max_age < 5:
            raise ValueError('max_age must be at least "5s", or "0s"')
        check_url(self.ws_url, "ws_url", "wss", "ws")
        check_url(self.rest_url, "rest_url", "https", "http")


class HttpConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:8099"
    """host:port of /health and /metrics; empty: none. Port 0 takes any free one."""

    def __post_init__(self) -> None:
        if self.listen and not re.fullmatch(r"(.+):(\d{1,5})", self.listen):
            raise ValueError(f'listen "{self.listen}" must be "host:port", or "" for none')


class RetentionConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How long each table keeps its rows (QuestDB's TTL): "0d" for ever, else whole days (trades, orderbook: hours)."""

    trades: Duration = Duration(0)
    orderbook: Duration = Duration(0)
    liquidations: Duration = Duration(0)
    tickers: Duration = Duration(0)
    gaps: Duration = Duration(0)
    feed_events: Duration = Duration(0)
    collector_stats: Duration = Duration(0)
    stream_stats: Duration = Duration(0)
    process_events: Duration = Duration(0)
    signals: Duration = Duration(0)
    analysis_runs: Duration = Duration(0)
    alerts: Duration = Duration(0)
    bars: Duration = Duration(0)
    """All materialized views."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            unit, word = (3600, "hours") if name in ("trades", "orderbook") else (86400, "days")
            if getattr(self, name) % unit:
                raise ValueError(f'{name} must be whole {word}, for example "30d"')


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    questdb: QuestDBConfig = QuestDBConfig()
    journal: JournalConfig = JournalConfig()
    feeds: list[FeedConfig] = msgspec.field(default_factory=list)
    http: HttpConfig = HttpConfig()
    retention: RetentionConfig = RetentionConfig()


def check_url(url: str, key: str, secure: str, plain: str) -> None:
    """TLS everywhere but on loopback."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError(f"{key} must not hold a user or password")
    if parts.scheme == secure and parts.hostname:
        return
    if parts.scheme == plain and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return
    raise ValueError(
        f'{key} "{url}" is refused: use {secure}:// ({plain}:// only to loopback: 127.0.0.1, localhost or [::1])'
    )
