"""The units and their installation, as far as a machine on which systemd does not run can tell."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from analyzer.cli import main as analyzer_main
from analyzer.config import load as analyzer_load
from collector.cli import main as collector_main
from collector.config import load as collector_load

ROOT = Path(__file__).parents[1]
UNITS = ROOT / "ops/systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
ANALYZE = shutil.which("systemd-analyze")
needs_systemd_analyze = pytest.mark.skipif(
    ANALYZE is None, reason="systemd-analyze is not here (package systemd)"
)
MOST_EXPOSURE = 2.0


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "ops" / name), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def install(root: Path, *more: str) -> str:
    done = script("install.sh", "--root", str(root), "--python", sys.executable, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Path → (mode, time of change) of everything below."""
    return {
        str(path.relative_to(root)): (f"{path.stat().st_mode & 0o777:o}", path.stat().st_mtime_ns)
        for path in root.rglob("*")
    }


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as installed, whose programs are those of this environment."""
    install(tmp_path)
    folder = tmp_path / "etc/systemd/system"
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/evenkeel/bin", str(Path(sys.executable).parent)))
    return folder


@needs_systemd_analyze
def test_systemd_finds_nothing_wrong(units: Path) -> None:
    names = sorted(str(path) for path in [*units.glob("*.service"), *units.glob("*.timer")])
    assert len(names) == len(SERVICES) + 1
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", *names], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_exposure(units: Path, name: str) -> None:
    done = subprocess.run(
        [str(ANALYZE), "security", "--offline=yes", "--no-pager", str(units / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= MOST_EXPOSURE


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_is_bounded_and_comes_back(name: str) -> None:
    text = (UNITS / name).read_text()
    for key in ("MemoryHigh=", "MemoryMax=", "MemorySwapMax=0"):
        assert f"\n{key}" in text, key
    if "Type=oneshot" not in text:  # its timer starts it again
        assert "\nRestart=always" in text
        assert "\nStartLimitIntervalSec=0" in text
    assert ("\nType=notify" in text) == ("\nWatchdogSec=" in text)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_unit_starts_exists(name: str) -> None:
    starts = re.findall(r"^ExecStart=/opt/evenkeel/bin/(\w+) (.*)$", (UNITS / name).read_text(), re.M)
    assert len(starts) == 1
    program, words = starts[0][0], starts[0][1].split()
    command: click.Command = collector_main if program == "collector" else analyzer_main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, starts
        command = found
    command.make_context(name, words)  # raises for an option that it does not have


def test_both_programs_read_what_is_installed(tmp_path: Path) -> None:
    """The configuration, and the credentials as the units hand them over."""
    install(tmp_path)
    credentials = tmp_path / "etc/evenkeel/credentials"
    hardening = (UNITS / "evenkeel-.service.d/10-hardening.conf").read_text()
    loaded = dict(re.findall(r"^LoadCredential=([\w-]+):(\S+)$", hardening, re.M))
    assert loaded == {name.name: f"/etc/evenkeel/credentials/{name.name}" for name in credentials.iterdir()}
    environ = dict(re.findall(r"(EVENKEEL_\w+)=(\S+)", hardening))
    environ = {
        key: value.replace("%d", str(credentials)).replace(
            "/etc/evenkeel/evenkeel", f"{tmp_path}/etc/evenkeel/evenkeel"
        )
        for key, value in environ.items()
    }
    collector, analyzer = collector_load(None, environ), analyzer_load(None, environ)
    assert collector.questdb.user == analyzer.questdb.user == "evenkeel"
    assert collector.questdb.password == analyzer.questdb.password
    assert len(collector.questdb.password) == 32
    state = Path("/var/lib/evenkeel")  # StateDirectory, the only folder that the services may write to
    assert state in Path(collector.questdb.data).parents
    assert f"{collector.journal.path}/service-result" in (UNITS / "evenkeel-collector.service").read_text()
    assert collector.feeds


def test_installing_twice_changes_nothing(tmp_path: Path) -> None:
    assert "would: write" in install(tmp_path, "--dry-run")
    assert tree(tmp_path) == {}
    install(tmp_path)
    before = tree(tmp_path)
    for name, mode in {
        "etc/evenkeel/credentials": "700",
        "etc/evenkeel/credentials/questdb-password": "600",
        "etc/evenkeel/evenkeel.toml": "644",
        "etc/systemd/system/evenkeel-collector.service": "644",
        "var/lib/evenkeel": "750",
    }.items():
        assert before[name][0] == mode, name
    assert install(tmp_path) == ""
    assert tree(tmp_path) == before


def test_an_upgrade_keeps_what_the_operator_has_changed(tmp_path: Path) -> None:
    install(tmp_path)
    config = tmp_path / "etc/evenkeel/evenkeel.toml"
    config.write_text("# mine\n")
    password = (tmp_path / "etc/evenkeel/credentials/questdb-password").read_text()
    drop_in = tmp_path / "etc/systemd/system/evenkeel-collector.service.d/mine.conf"
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nMemoryMax=2G\n")
    unit = tmp_path / "etc/systemd/system/evenkeel-collector.service"
    unit.write_text("# of an older version\n")
    assert install(tmp_path) == f"write {unit}\n"
    assert unit.read_text() == (UNITS / unit.name).read_text()
    assert config.read_text() == "# mine\n"
    assert (tmp_path / "etc/evenkeel/credentials/questdb-password").read_text() == password
    assert script("uninstall.sh", "--root", str(tmp_path)).returncode == 0
    assert drop_in.exists()


def test_uninstalling_keeps_data_unless_asked(tmp_path: Path) -> None:
    install(tmp_path)
    journal = tmp_path / "var/lib/evenkeel/journal/00000000000000000001.journal"
    journal.parent.mkdir()
    journal.write_text("rows")
    before = tree(tmp_path)
    assert "would: remove" in script("uninstall.sh", "--root", str(tmp_path), "--dry-run").stdout
    assert tree(tmp_path) == before
    done = script("uninstall.sh", "--root", str(tmp_path))
    assert "kept: " in done.stdout
    assert not list((tmp_path / "etc/systemd/system").iterdir())
    assert journal.read_text() == "rows"
    assert (tmp_path / "etc/evenkeel/credentials/questdb-password").exists()
    assert script("uninstall.sh", "--root", str(tmp_path), "--purge").returncode == 0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["install.sh", "uninstall.sh"])
def test_a_wrong_argument_does_nothing(name: str) -> None:
    done = script(name, "--purgee")
    assert done.returncode == 2
    assert "unknown argument --purgee" in done.stderr
    told = script(name, "--help")
    assert told.returncode == 0
    assert "--dry-run" in told.stdout
