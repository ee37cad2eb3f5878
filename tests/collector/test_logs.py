"""The log of both programs, as a process writes it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import logging, structlog
from collector import logs
now = 1000.0
logs.time.monotonic = lambda: now
logs.hide('pass"w\u00f6rd', "abc")
logs.configure()
log = structlog.get_logger()
"""


def lines(body: str, **environment: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(body, **environment).splitlines()]


def run(body: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + body],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == ""
    return done.stderr


def test_the_same_message_is_written_once_a_minute_and_counted() -> None:
    body = """
for second in range(0, 125):
    now = 1000.0 + second
    log.warning("disk refuses", path="/journal")
    log.info("progress", second=second) if second % 50 == 0 else None
now = 1200.0
log.info("the end")
"""
    found = [(line["event"], line.get("second", line.get("repeated"))) for line in lines(body)]
    assert found == [
        ("disk refuses", None),
        ("progress", 0),
        ("progress", 50),
        ("disk refuses", 59),
        ("progress", 100),
        ("disk refuses", 59),
        ("disk refuses", 4),  # left out, and told with what came next
        ("the end", None),
    ]


def test_a_flood_that_differs_in_details_is_limited() -> None:
    body = """
for n in range(500):
    log.warning("gap", symbol=f"S{n}")
    log.error("other") if n == 300 else None
now = 1010.0
log.warning("gap", symbol="later")
"""
    found = lines(body)
    gaps = [line for line in found if line["event"] == "gap"]
    assert [line["symbol"] for line in gaps] == [f"S{n}" for n in range(50)] + ["later"]
    assert gaps[-1]["repeated"] == 450
    assert [line["level"] for line in found if line["event"] == "other"] == ["error"]


def test_secrets_are_masked_wherever_they_stand() -> None:
    body = """
secret = 'pass"w\u00f6rd'
log.info(f"plain {secret}", nested={"list": [secret]}, short="abcabc")
try:
    raise ValueError(secret)
except ValueError:
    log.exception("failed", url="http://u:pass%22w%C3%B6rd@host")
logging.getLogger("library").warning("has %s", secret)
"""
    first, second, third = lines(body)
    assert (first["event"], first["nested"], first["short"]) == ("plain ***", {"list": ["***"]}, "abcabc")
    assert second["url"] == "http://u:***@host"
    assert second["exception"].endswith("ValueError: ***")
    assert (third["event"], third["library"], third["level"]) == ("has ***", "library", "warning")


def test_a_short_secret_is_masked_where_it_stands_alone() -> None:
    body = """
logs.hide("quest", "quest-1")
log.warning("questdb_unavailable: user=admin password=quest", url="http://admin:quest@host", other="xquest-1x")
"""
    (line,) = lines(body)
    assert line["event"] == "questdb_unavailable: user=admin password=***"
    assert (line["url"], line["other"]) == ("http://admin:***@host", "x***x")


def test_lines_for_systemd_tell_their_priority() -> None:
    body = """
import os, sys
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
logs.configure()
log = structlog.get_logger()
log.error("bad")
log.info("good")
"""
    bad, good = run(body).splitlines()
    assert bad.startswith('<3>{"')
    assert good.startswith('<6>{"')


def test_on_a_terminal_it_is_for_people() -> None:
    master, slave = pty.openpty()
    body = SCRIPT + 'log.warning("disk refuses", path="/journal", secret=\'pass"w\u00f6rd\')'
    child = subprocess.Popen([sys.executable, "-c", body], stderr=slave, cwd=Path(__file__).parents[2])
    os.close(slave)
    assert child.wait(30) == 0
    text = os.read(master, 65536).decode()
    os.close(master)
    assert "disk refuses" in text
    assert "/journal" in text
    assert not text.startswith("{")
    assert "rd" not in text.replace("warning", "")
