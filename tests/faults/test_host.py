"""Faults of the machine: its clock, its name service."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collector.database.endpoint import Endpoint
from tests.faults.rig import Rig, python_path, seconds
from tests.processes import wait_until

HOST = Path(__file__).parent / "host"


def environment(folder: Path) -> dict[str, str]:
    return python_path(HOST) | {"EVENKEEL_FAULTS_HOST": str(folder)}


@pytest.mark.parametrize("jump", [3600, -3600], ids=["forward", "back"])
def test_clock_is_set_by_an_hour(rig: Rig, database: Endpoint, tmp_path: Path, jump: int) -> None:
    """The connection is begun anew, the moment declared; recording goes on, waits are not an hour too long."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record(**environment(tmp_path))
    rig.wait_recording()
    (tmp_path / "clock_offset_s").write_text(str(jump))
    wait_until(lambda: rig.events().get("disconnected", 0) >= 1, what="the detection")
    wait_until(lambda: rig.events().get("connected", 0) >= 2, what="the new connection")
    rig.go_on(int(seconds(3000, 30_000)))
    rig.stop()
    rig.verify()
    assert "the clock of this machine was set by" in rig.log.read_text()


def test_name_service_fails(rig: Rig, database: Endpoint, tmp_path: Path) -> None:
    """However often a name can't be resolved (the long form: more than ten times), the feed goes on trying."""
    rig.behind_proxy(database)
    rig.simulate()
    port = urlsplit(rig.wire.url).port
    rig.configure(ws_url=f"ws://localhost:{port}/v5/public/linear", rest_url="")
    (tmp_path / "no_dns").write_text("")
    rig.record(**environment(tmp_path))
    asked = tmp_path / "asked"
    times = int(seconds(3, 11))
    wait_until(lambda: asked.exists() and len(asked.read_text()) >= times, 600, "the attempts")
    (tmp_path / "no_dns").unlink()
    wait_until(lambda: rig.health().get("messages", 0) > 500, 120, "the recording")
    rig.stop()
    assert rig.verify()["missing"] == 0
    assert rig.events()["connect_failed"] >= times
