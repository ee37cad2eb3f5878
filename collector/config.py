"""Configuration: a TOML file, overridden key by key from `EVENKEEL_…` environment variables, checked as a whole.

`EVENKEEL_JOURNAL_MAX_BYTES=1GiB` sets `[journal] max_bytes`; `EVENKEEL_FEEDS_0_SYMBOLS=BTCUSDT,ETHUSDT` sets a key of the
first `[[feeds]]`. Secrets (`questdb.user`, `questdb.password`) come from the environment only, or from the file named
by `…_FILE`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from collector import logs
from collector.settings import (
    Config,
    Duration,
    FeedConfig,
    HttpConfig,
    JournalConfig,
    QuestDBConfig,
    RetentionConfig,
    Size,
)

DEFAULT_FILE = Path("evenkeel.toml")
ANALYZER_SECTIONS = frozenset({"analyzer", "confluence", "audit", "alerts"})
"""Sections of the same file that the other program owns and checks."""
SECRETS = frozenset({"user", "password", "reader", "reader_password"})


class ConfigError(Exception):
    """The configuration can't be used; the message names file, key and remedy."""


def load(file: str | Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration.

    `file` None takes EVENKEEL_CONFIG, else `evenkeel.toml` where it exists, else the defaults (which record nothing).

    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    path = (
        Path(file) if file else Path(environ["EVENKEEL_CONFIG"]) if environ.get("EVENKEEL_CONFIG") else None
    )
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
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
    source = str(path) if path else "configuration"
    for key in SECRETS & data.get("questdb", {}).keys() if isinstance(data.get("questdb"), dict) else ():
        raise ConfigError(
            f"{source}: key questdb.{key}: secrets don't belong in this file; set EVENKEEL_QUESTDB_{key.upper()} "
            f"or EVENKEEL_QUESTDB_{key.upper()}_FILE"
        )
    for feed in data.get("feeds", []) if isinstance(data.get("feeds"), list) else ():
        if isinstance(feed, dict) and str(feed.get("symbols")).startswith("top:"):
            feed["symbols"] = [feed["symbols"]]
    _overlay(data, environ)
    data = {key: value for key, value in data.items() if key not in ANALYZER_SECTIONS}
    logs.hide_passwords(data.get("questdb"))
    try:
        return msgspec.convert(data, Config, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(source, str(error))) from error


def _decode(kind: type, value: Any) -> Any:
    if kind in (Duration, Size):
        if not isinstance(value, str):
            raise ValueError(
                f'{value!r} must be a text with a unit, for example "{"500ms" if kind is Duration else "10GiB"}"'
            )
        return kind.parse(value)
    raise NotImplementedError(kind)


def _explain(source: str, message: str) -> str:
    text, _, where = message.partition(" - at `")
    key = where.rstrip("`").removeprefix("$").removeprefix(".") or "(top level)"
    unknown = re.search(r"unknown field `(.+?)`", text)
    if unknown:
        key = unknown[1] if key == "(top level)" else f"{key}.{unknown[1]}"
        return f"{source}: key {key}: unknown; remove it or correct its spelling (docs/configuration.md lists the keys)"
    return f"{source}: key {key}: {text}; correct it"


def _overlay(data: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Lay EVENKEEL_SECTION_KEY variables over `data`."""
    for section, kind in (
        ("questdb", QuestDBConfig),
        ("journal", JournalConfig),
        ("http", HttpConfig),
        ("retention", RetentionConfig),
    ):
        found = _overrides(kind, f"EVENKEEL_{section}", environ)
        if found:
            table = data.setdefault(section, {})
            if isinstance(table, dict):
                table.update(found)
    feeds = data.get("feeds", [])
    indices = {int(m[1]) for name in environ if (m := re.match(r"EVENKEEL_FEEDS_(\d+)_", name))}
    for index in sorted(indices):
        if not isinstance(feeds, list) or index > len(feeds):
            raise ConfigError(
                f"environment: EVENKEEL_FEEDS_{index}_…: there is no feed {index}; number feeds from 0 without holes"
            )
        if index == len(feeds):
            feeds.append({})
        if isinstance(feeds[index], dict):
            feeds[index].update(_overrides(FeedConfig, f"EVENKEEL_FEEDS_{index}", environ))
        data["feeds"] = feeds


def _overrides(kind: type[msgspec.Struct], prefix: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `kind` that the environment sets, as TOML would give them."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        text = _variable(f"{prefix}_{field.name}".upper(), environ)
        if text is None:
            continue
        if field.type == list[str]:
            found[field.name] = [item.strip() for item in text.split(",") if item.strip()]
        else:
            found[field.name] = int(text) if field.type is int and text.isdigit() else text
    return found


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    file = environ.get(f"{name}_FILE")
    if file is None:
        return environ.get(name)
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigError(
            f"environment: {name}_FILE: {file} can't be read ({error.strerror}); correct the path"
        ) from error
