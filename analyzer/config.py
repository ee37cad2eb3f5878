"""The analyzer's share of the configuration file: where QuestDB is, and how passes are run.

The file is the collector's too; its sections are accepted here and not looked into.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from analyzer import logs
from analyzer.alerts.settings import AlertsConfig
from analyzer.audit.settings import AuditConfig
from analyzer.quantities import duration

DEFAULT_FILE = Path("evenkeel.toml")
COLLECTOR_SECTIONS = frozenset({"journal", "feeds", "http", "retention"})
SECRETS = frozenset({"user", "password", "reader", "reader_password"})
SERVER_FILE = "evenkeel-server.json"
"""Written by the managed server's owner into `questdb.data`."""


class ConfigError(Exception):
    """The configuration can't be used; the message names file, key and remedy."""


class UnreachableError(Exception):
    """There is no server to speak to; the message says what to do."""


class Endpoint(msgspec.Struct, frozen=True):
    http_url: str
    pg: str
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Endpoint({self.http_url!r})"


class QuestDBConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    url: str = "managed"
    pg: str = ""
    data: str = "var/questdb"
    http_port: int = 9000
    pg_port: int = 8812
    memory: str = ""
    user: str = ""
    password: str = ""
    reader: str = ""
    """A user that may only read: all that goes over PGWire is asked as this one."""
    reader_password: str = ""

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.url).netloc:
            raise ValueError("url must not hold a password; set EVENKEEL_QUESTDB_USER and …_PASSWORD_FILE")


class AnalyzerConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    window: str = "15m"
    every: str = "1m"
    """Cadence of `analyzer schedule`."""
    settle: str = "2s"
    """How long rows may be late: a pass starts this long after its window's end."""
    time_limit: str = "60s"
    """A pass that takes longer is ended and recorded as failed."""
    listen: str = ""
    """host:port of /health and /metrics of `analyzer schedule`; empty: none. Port 0 takes any free one."""
    catch_up: str = "1h"
    """How far back `analyzer schedule` runs what was missed."""
    cadence: dict[str, str] = {}
    """Analysis → its own `every`."""
    windows: dict[str, str] = {}
    """Analysis → its own `window` in `analyzer schedule`."""

    def __post_init__(self) -> None:
        if self.listen and not re.fullmatch(r"(.+):(\d{1,5})", self.listen):
            raise ValueError(f'listen "{self.listen}" must be "host:port", or "" for none')
        plain = ("window", "every", "settle", "time_limit", "catch_up")
        durations = {name: getattr(self, name) for name in plain}
        for key, table in (("cadence", self.cadence), ("windows", self.windows)):
            durations |= {f"{key}.{name}": text for name, text in table.items()}
        for name, text in durations.items():
            try:
                duration(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error


class ConfluenceConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Weights of the score's components (only their proportions count), and its bounds."""

    order_flow: float = 0.30
    order_book: float = 0.20
    volume: float = 0.18
    structure: float = 0.15
    technical: float = 0.10
    sentiment: float = 0.07
    long: float = 70.0
    """From this score on the verdict is long…"""
    short: float = 35.0
    """…and up to this one short."""
    min_coverage: float = 0.8
    """Share of the window that must have been recorded."""
    min_weight: float = 0.5
    """Share of the weights whose components must be known."""

    def weights(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in self.__struct_fields__[:6]}

    def __post_init__(self) -> None:
        weights = self.weights()
        for name, weight in weights.items():
            if not 0 <= weight <= 1000:
                raise ValueError(f"{name} must be a weight between 0 and 1000")
        if not any(weights.values()):
            raise ValueError(f"one of {', '.join(weights)} must be above 0")
        if not 0 <= self.short < self.long <= 100:
            raise ValueError("short must be below long, both between 0 and 100")
        for name in ("min_coverage", "min_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share between 0 and 1")


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    questdb: QuestDBConfig = QuestDBConfig()
    analyzer: AnalyzerConfig = AnalyzerConfig()
    confluence: ConfluenceConfig = ConfluenceConfig()
    audit: AuditConfig = AuditConfig()
    alerts: AlertsConfig = AlertsConfig()


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "questdb": QuestDBConfig,
    "analyzer": AnalyzerConfig,
    "confluence": ConfluenceConfig,
    "audit": AuditConfig,
    "alerts": AlertsConfig,
}


def load(file: str | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check. Raises ConfigError."""
    environ = os.environ if environ is None else environ
    named = file or environ.get("EVENKEEL_CONFIG")
    path = Path(named) if named else DEFAULT_FILE if DEFAULT_FILE.exists() else None
    data: dict[str, Any] = {}
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"{path}: can't be read ({error.strerror}); name a readable file with --config"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}; mend that line") from error
    source = str(path or "configuration")
    if isinstance(data.get("alerts"), dict) and "urls" in data["alerts"]:
        raise ConfigError(
            f"{source}: key alerts.urls: secrets don't belong in this file; set EVENKEEL_ALERTS_URLS[_FILE]"
        )
    questdb = data.get("questdb")
    for key in sorted(SECRETS & questdb.keys()) if isinstance(questdb, dict) else ():
        variable = f"EVENKEEL_QUESTDB_{key.upper()}"
        raise ConfigError(
            f"{source}: key questdb.{key}: secrets don't belong in this file; set {variable}[_FILE]"
        )
    for section, kind in SECTIONS.items():
        for field in msgspec.structs.fields(kind):
            text = from_environment(f"EVENKEEL_{section}_{field.name}".upper(), environ)
            if text is None:
                continue
            table = data.setdefault(section, {})
            if isinstance(table, dict):
                table[field.name] = _number(text) if field.type in (int, float) else text
    analyzer = data.get("analyzer", {})
    for key in ("cadence", "windows"):
        prefix = f"EVENKEEL_ANALYZER_{key.upper()}_"
        found = {
            name.removeprefix(prefix).lower(): text
            for name, text in environ.items()
            if name.startswith(prefix)
        }
        if found and isinstance(analyzer, dict) and isinstance(analyzer.setdefault(key, {}), dict):
            analyzer[key] |= found
            data["analyzer"] = analyzer
    logs.hide_passwords(data.get("questdb"))
    try:
        return msgspec.convert({k: v for k, v in data.items() if k not in COLLECTOR_SECTIONS}, Config)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `")
        unknown = re.search(r"unknown field `(.+?)`", text)
        keys = [where.rstrip("`").removeprefix("$").removeprefix("."), unknown[1] if unknown else ""]
        problem = "unknown; remove it or correct its spelling" if unknown else f"{text}; correct it"
        raise ConfigError(f"{source}: key {'.'.join(key for key in keys if key)}: {problem}") from error


def _number(text: str) -> int | float | str:
    """As TOML would read it; what is no number stays a text, which the check then names."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def from_environment(name: str, environ: Mapping[str, str]) -> str | None:
    """A variable, or the content of the file that the one with `_FILE` names. Raises ConfigError."""
    file = environ.get(f"{name}_FILE")
    if file is None:
        return environ.get(name)
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(f"environment: {name}_FILE: {file} can't be read ({error.strerror})") from error


def endpoint(config: QuestDBConfig) -> Endpoint:
    """Where the server is. Raises UnreachableError, ConfigError."""
    user, password = config.user, config.password
    if config.url == "managed":
        file = Path(config.data) / SERVER_FILE
        try:
            state = msgspec.json.decode(file.read_bytes())
            os.kill(state["pid"], 0)
            http, pg_port = state["http"], urlsplit(state["pg"]).port
        except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"find the managed QuestDB: {file}: no running server ({error}); "
                "start it with 'collector db start' or 'collector run', or set questdb.url"
            ) from error
        return Endpoint(http, _pg("127.0.0.1", pg_port or 8812, config), user, password)
    parts = urlsplit(config.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f'key questdb.url: "{config.url}" must be "managed", "http://host:port" or "https://host:port"'
        )
    pg = _completed(config.pg, config) if config.pg else _pg(parts.hostname, 8812, config)
    return Endpoint(config.url.rstrip("/"), pg, user, password)


def _pg(host: str, port: int, config: QuestDBConfig) -> str:
    user, password = (quote(text, safe="") for text in _reader(config))
    return f"postgresql://{user}:{password}@{f'[{host}]' if ':' in host else host}:{port}/qdb"


def _completed(pg: str, config: QuestDBConfig) -> str:
    """The address with what it leaves out: the user and the password are secrets of the environment. Raises ConfigError."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    user, password = _reader(config)
    missing = {"user": user, "password": password, "dbname": "qdb"}
    try:
        given = conninfo_to_dict(pg)
        return make_conninfo(pg, **{key: value for key, value in missing.items() if key not in given})
    except ProgrammingError as error:
        raise ConfigError(
            f"key questdb.pg: not a PostgreSQL address ({str(error).strip()}); "
            'write "postgresql://host:8812/qdb"'
        ) from error


def _reader(config: QuestDBConfig) -> tuple[str, str]:
    """Who reads over PGWire: the user that may only read, where there is one."""
    if config.reader:
        return config.reader, config.reader_password
    return config.user or "admin", config.password or "quest"
