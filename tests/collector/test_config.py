"""Configuration: every mistake is one clear error that names file, key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.config import ConfigError, load

FEED = '[[feeds]]\nexchange = "bybit"\nmarket = "linear"\nsymbols = ["BTCUSDT"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "c.toml"
    path.write_text(text)
    return path


def test_defaults_and_units(tmp_path: Path) -> None:
    config = load(write(tmp_path, FEED + '[journal]\nmax_bytes = "1.5GiB"\nfsync_interval = "250ms"\n'), {})
    assert config.journal.max_bytes == 3 << 29
    assert config.journal.fsync_interval == 0.25
    assert (config.questdb.url, config.http.listen) == ("managed", "127.0.0.1:8099")
    (feed,) = config.feeds
    assert feed.channels == ["trades", "orderbook", "liquidations", "tickers"]
    assert (feed.book_depth, feed.book_interval) == (50, 0.1)


def test_environment_overrides_every_key(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    config = load(
        write(tmp_path, FEED),
        {
            "EVENKEEL_QUESTDB_URL": "http://127.0.0.1:9999",
            "EVENKEEL_QUESTDB_PASSWORD_FILE": str(secret),
            "EVENKEEL_JOURNAL_MAX_BYTES": "2GiB",
            "EVENKEEL_HTTP_LISTEN": "",
            "EVENKEEL_FEEDS_0_SYMBOLS": "ETHUSDT, SOLUSDT",
            "EVENKEEL_FEEDS_0_BOOK_DEPTH": "200",
            "EVENKEEL_FEEDS_1_EXCHANGE": "bybit",
            "EVENKEEL_FEEDS_1_MARKET": "spot",
            "EVENKEEL_FEEDS_1_SYMBOLS": "BTCUSDT",
        },
    )
    assert config.questdb.url == "http://127.0.0.1:9999"
    assert config.questdb.password == "s3cret"
    assert config.journal.max_bytes == 2 << 30
    assert config.http.listen == ""
    assert (config.feeds[0].symbols, config.feeds[0].book_depth) == (["ETHUSDT", "SOLUSDT"], 200)
    assert config.feeds[1].market == "spot"


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("[journal]\nmax_byts = '1GiB'", "journal.max_byts", "unknown"),
        ("[jurnal]\n", "jurnal", "unknown"),
        ("[journal]\nmax_bytes = 5", "journal.max_bytes", "10GiB"),
        ("[journal]\nmax_bytes = '5'", "journal.max_bytes", "not a size"),
        ("[journal]\nmax_bytes = '1KiB'", "journal", "max_bytes"),
        ("[journal]\nfsync_interval = '1 fortnight'", "journal.fsync_interval", "not a duration"),
        ("questdb = 3", "questdb", "Expected"),
        ("[questdb]\npassword = 'x'", "questdb.password", "EVENKEEL_QUESTDB_PASSWORD_FILE"),
        ("[questdb]\nurl = 'ftp://x'", "questdb", "managed"),
        ("[questdb]\nurl = 'http://u:p@h:9000'", "questdb", "PASSWORD_FILE"),
        ("[http]\nlisten = 'nowhere'", "http", "host:port"),
        ("[[feeds]]\nexchange='bybit'\nmarket='linear'\nsymbols=[]", "feeds[0]", "empty"),
        ("[[feeds]]\nexchange='bybit'\nmarket='linear'\nsymbols='BTC'", "feeds[0].symbols", "array"),
        ("[[feeds]]\nexchange='bybit'\nmarket='linear'", "feeds[0]", "symbols"),
        (FEED + "channels = ['trade']", "feeds[0]", "trades"),
        (FEED + "book_depth = 0", "feeds[0]", "book_depth"),
        (FEED + "book_depth = 'deep'", "feeds[0].book_depth", "int"),
        (FEED + "ws_url = 'ws://example.org/x'", "feeds[0]", "wss://"),
        (FEED + "rest_url = 'http://10.0.0.1'", "feeds[0]", "https://"),
        (FEED + "colour = 'red'", "feeds[0].colour", "unknown"),
        ("[retention]\ntickers = '5h'", "retention", "days"),
        ("not toml", "", "TOML"),
    ],
)
def test_mistakes_name_file_key_and_remedy(tmp_path: Path, text: str, key: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    message = str(caught.value)
    assert str(path) in message
    assert key in message
    assert words in message


def test_absent_file_and_bad_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="number feeds from 0"):
        load(write(tmp_path, ""), {"EVENKEEL_FEEDS_3_MARKET": "spot"})
    with pytest.raises(ConfigError, match="_FILE"):
        load(write(tmp_path, ""), {"EVENKEEL_QUESTDB_PASSWORD_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:1/x", "ws://localhost:1", "ws://[::1]:1", "wss://example.org/x"]
)
def test_plain_websockets_to_loopback_only(tmp_path: Path, url: str) -> None:
    assert load(write(tmp_path, FEED + f"ws_url = '{url}'"), {}).feeds[0].ws_url == url


def test_environment_over_a_feed_that_is_no_table_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"feeds\[0\]"):
        load(write(tmp_path, "feeds = [1]"), {"EVENKEEL_FEEDS_0_MARKET": "spot"})
