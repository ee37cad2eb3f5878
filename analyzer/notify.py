"""What systemd is told (sd_notify(3)): ready, how it goes, progress, stopping. Silent where there is no $NOTIFY_SOCKET.

The other program has the same file, for neither imports the other (tests/test_structure.py compares them).
"""

from __future__ import annotations

import os

import sdnotify

STATUS_SECONDS = 10.0
"""Between two status lines where there is no watchdog."""


class Notifier:
    """Never waits: what systemd's socket does not take at once is left out, and told anew soon."""

    def __init__(self) -> None:
        self._systemd = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        if self._systemd is not None and self._systemd.socket is not None:
            self._systemd.socket.setblocking(False)
        self.watchdog = _watchdog_seconds()
        """Seconds after which systemd ends a process that has not told of progress; 0: it does not."""
        self.interval = min(self.watchdog / 4, STATUS_SECONDS) if self.watchdog else STATUS_SECONDS
        """Seconds between two calls of `progress`."""

    @property
    def wanted(self) -> bool:
        return self._systemd is not None

    def ready(self, status: str) -> None:
        self._tell("READY=1", f"STATUS={status}")

    def progress(self, status: str, stuck: str) -> None:
        """`stuck`: why there is no progress, else ""."""
        if stuck:
            self._tell(f"STATUS=stuck: {stuck}")
        elif self.watchdog:
            self._tell("WATCHDOG=1", f"STATUS={status}")
        else:
            self._tell(f"STATUS={status}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", f"STATUS={status}")

    def _tell(self, *lines: str) -> None:
        if self._systemd is not None:
            self._systemd.notify("\n".join(line.replace("\n", " ") for line in lines))


def _watchdog_seconds() -> float:
    """Of $WATCHDOG_USEC, where it is meant for this process (sd_watchdog_enabled(3))."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() else 0.0
