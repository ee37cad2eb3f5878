"""What a comparison needs and the project does not: fetched on demand, once, into `var/bench/`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("var/bench")
INTERPRETER_VARIABLE = "EVENKEEL_BENCH_PYTHON"
INSTALL_SECONDS = 180.0


class LeftOutError(Exception):
    """A part can't be measured here; the message says why and what would change that."""


def newer_python(at_least: tuple[int, int]) -> Path:
    """An interpreter of that version or newer. Raises LeftOutError."""
    for candidate in _candidates(at_least):
        version = _version(candidate)
        if version >= at_least:
            return Path(candidate)
    wanted = ".".join(map(str, at_least))
    raise LeftOutError(f"no Python {wanted} or newer was found: name one with {INTERPRETER_VARIABLE}=/path")


def _candidates(at_least: tuple[int, int]) -> Iterator[str]:
    """The one that was named; else this one, those on PATH, and those of pyenv (whose shims may stand for nothing)."""
    if named := os.environ.get(INTERPRETER_VARIABLE):
        yield named
        return
    yield sys.executable
    for minor in range(at_least[1], at_least[1] + 4):
        if found := shutil.which(f"python{at_least[0]}.{minor}"):
            yield found
    if shutil.which("pyenv"):
        answer = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        versions = Path(answer.stdout.strip()) / "versions"
        if not answer.returncode and versions.is_dir():
            yield from (str(path) for path in sorted(versions.glob("*/bin/python"), reverse=True))


def _version(interpreter: str) -> tuple[int, int]:
    """(0, 0) for what can't be run."""
    try:
        answer = subprocess.run(
            [interpreter, "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        major, minor = answer.stdout.split()
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError):
        return 0, 0


def environment(name: str, interpreter: Path, *packages: str) -> Path:
    """The interpreter of a virtual environment that has the packages. Raises LeftOutError."""
    folder = FOLDER / name
    stamp, content = folder / "ready", " ".join((str(interpreter), *packages))
    python = (folder / "bin" / "python").absolute()
    if stamp.exists() and stamp.read_text() == content and _version(str(python)) != (0, 0):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _install([str(interpreter), "-m", "venv", str(folder)], name)
    _install([str(python), "-m", "pip", "install", "--quiet", "--no-input", *packages], name)
    stamp.write_text(content)
    return python


def packages_folder(name: str, *packages: str) -> Path:
    """A folder for PYTHONPATH that has the packages for this interpreter. Raises LeftOutError."""
    folder = (FOLDER / name).absolute()
    stamp, content = folder / "ready", " ".join((sys.version, *packages))
    if stamp.exists() and stamp.read_text() == content:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--target", str(folder)]
    _install([*command, *packages], name)
    stamp.write_text(content)
    return folder


def _install(command: list[str], name: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise LeftOutError(f"{name} could not be installed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeftOutError(f"{name} could not be installed: {error}") from error
