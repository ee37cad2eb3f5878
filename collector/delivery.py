"""From the first attempt to reach QuestDB to the last acknowledged row: schema, shipper, a managed server that crashes."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import structlog

from collector.database.endpoint import Endpoint, UnsupportedServerError, answers, require_supported, resolve
from collector.database.migrate import migrate
from collector.deadletters import DeadLetters
from collector.errors import OperatorError
from collector.metrics import Metrics
from collector.outages import Outages
from collector.settings import Config
from collector.shipper import Shipper
from collector.sink import QuestDBSink
from collector.store import JournalStore

log = structlog.get_logger()

RETRY_SECONDS = 5.0
DRAIN_TIMEOUT = 20.0


class Delivery:
    """A thread that brings the database up to date, for as long as it takes, and then starts the shipper."""

    def __init__(
        self,
        config: Config,
        store: JournalStore,
        dead: DeadLetters,
        metrics: Metrics,
        on_damage: Callable[[int, int], None],
        outages: Outages,
    ) -> None:
        """`on_damage`, `outages`: as the shipper takes them."""
        self._config, self._store, self._dead, self._metrics = config, store, dead, metrics
        self._on_damage, self._outages = on_damage, outages
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.shipper: Shipper | None = None
        self.endpoint: Endpoint | None = None
        """The database, once it is ready for rows."""

    def start(self, endpoint: Endpoint | None) -> None:
        """`endpoint`: the database, where it has been reached already."""
        self._thread = threading.Thread(target=self._run, args=(endpoint,), name="database", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Post what the journal holds. True when all of it was acknowledged in time."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * RETRY_SECONDS)
        return self.shipper is not None and self.shipper.stop(DRAIN_TIMEOUT)

    def hurry(self) -> None:
        """End the drain that `stop` began."""
        if self.shipper is not None:
            self.shipper.hurry()

    def unavailable(self) -> str:
        """Why QuestDB takes no rows, else ""."""
        return "it has not been reached yet" if self.shipper is None else self.shipper.unavailable

    def _run(self, endpoint: Endpoint | None) -> None:
        while not self._stopping.is_set():
            try:
                endpoint = self._reach(endpoint)
                migrate(endpoint, self._config.retention)
            except OperatorError as error:
                log.error("database not ready, rows wait in the journal", cause=str(error))
                endpoint = None  # a managed server that died is started anew, at another address perhaps
                self._stopping.wait(RETRY_SECONDS)
            except Exception:  # a thread that dies silently would be the end of shipping
                log.exception("preparing the database failed, rows wait in the journal", remedy="report it")
                endpoint = None
                self._stopping.wait(RETRY_SECONDS)
            else:
                self._ship(endpoint)
                return

    def _reach(self, endpoint: Endpoint | None) -> Endpoint:
        """Raises OperatorError."""
        try:
            endpoint = endpoint or resolve(self._config.questdb)
            require_supported(endpoint)
        except UnsupportedServerError:
            raise
        except OperatorError as error:
            self._outages.failed(str(error))
            raise
        return endpoint

    def _ship(self, endpoint: Endpoint) -> None:
        database = self._config.questdb
        sink = QuestDBSink(
            endpoint.http_url,
            endpoint.user,
            endpoint.password,
            disk=database.watched_disk,
            min_free=database.min_free,
        )
        shipper = Shipper(
            self._config.journal, self._store, sink, self._dead, self._metrics, self._on_damage, self._outages
        )
        self._metrics.wal = functools.partial(getattr, sink, "wal")
        shipper.start()
        self.shipper, self.endpoint = shipper, endpoint
        self._supervise(sink, shipper)

    def _supervise(self, sink: QuestDBSink, shipper: Shipper) -> None:
        """Start a managed server again that has crashed; one that was stopped stays stopped. Follow one that moves."""
        config = self._config.questdb
        if config.url != "managed":
            return
        from collector.database import managed
        from collector.database.record import ManagedServer

        seen: ManagedServer | None = None
        while not self._stopping.wait(RETRY_SECONDS):
            if not shipper.unavailable:
                continue
            try:
                if managed.crashed(config):
                    log.error("the managed QuestDB has crashed, starting it again")
                    resolve(config)
                server = managed.status(config)
                if server is None or server == seen or not answers(server.http):
                    continue
                seen = server
                self.endpoint = managed.endpoint_of(server, config)
                sink.move(self.endpoint.http_url)
                shipper.attempt()  # it may be in the middle of a long back-off
            except OperatorError as error:
                log.error("QuestDB can't be started, rows wait in the journal", cause=str(error))
