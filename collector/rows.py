"""The typed rows that every exchange is reduced to. One class a table; `sql/` declares the same columns.

Times are integers of microseconds since the epoch, UTC: `ts` is the exchange's event time, `recv_ts` the moment
the bytes arrived. Prices are in quote units, quantities in base units.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.float64]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One fill as published."""

    ts: int
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    side: str | None
    """Side of the taker: "buy", "sell", or None where the venue does not say."""
    price: float
    qty: float
    trade_id: str


class BookSnapshot(msgspec.Struct, frozen=True, gc=False):
    """The best levels of one book after one update."""

    ts: int
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    bids: Levels
    """float64, shape (2, levels): row 0 prices, row 1 sizes; best first."""
    asks: Levels
    seq: int
    """The update id that the venue's sequence rule runs on."""


class Liquidation(msgspec.Struct, frozen=True, gc=False):
    """One forced order."""

    ts: int
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    side: str
    """Side of the forced order: "sell" closed a long, "buy" closed a short."""
    price: float
    qty: float
    liq_id: str
    """The same for a resend of the same event."""


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """The merged state of an instrument; None where the venue has not (yet) said."""

    ts: int
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    last: float | None = None
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    """Per funding interval, as a fraction (0.0001 = 1 bp)."""
    next_funding_ts: int | None = None
    open_interest: float | None = None
    """As the venue counts it (one side or both), in base units where the venue gives them."""
    bid: float | None = None
    ask: float | None = None


class FeedEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to a stream or a process: connected, subscribed, disconnected, …"""

    ts: int
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    channel: str
    event: str
    detail: str = ""
    collector: str = ""
    """Whose row it is, by its journal (`JournalStore.collector`); empty: that of the encoder."""


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A declared hole in one stream. Written open (`to_ts` None) and again, under the same key, when it ends."""

    from_ts: int
    to_ts: int | None
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    channel: str
    cause: str
    missing: int | None = None
    """How many messages are missing, where a sequence tells; else None."""
    repaired: bool = False
    """Whether every row of it is stored now."""
    repair: str | None = None
    """What REST gave: complete, partial, none, unavailable, failed; None: not asked yet."""
    recovered: int | None = None
    """Rows that REST gave."""
    collector: str = ""
    """Whose row it is, by its journal (`JournalStore.collector`); empty: that of the encoder."""


class ListedInstrument(msgspec.Struct, frozen=True, gc=False):
    """One symbol, as its venue lists it on that day; see `exchanges.base.Instrument`."""

    ts: int
    """Midnight."""
    recv_ts: int
    exchange: str
    market: str
    symbol: str
    name: str
    """BASE-QUOTE-KIND"""
    base: str
    quote: str
    kind: str
    status: str
    contract_size: float
    inverse: bool
    tick: float | None
    lot: float | None


class Alert(msgspec.Struct, frozen=True, gc=False):
    """Something that the operator must know now; written again, resolved, when it is over."""

    ts: int
    rule: str
    severity: str
    """warning or critical."""
    state: str
    """firing or resolved."""
    value: float
    message: str
    """What has happened, and the operator's next step."""
    exchange: str = "*"
    market: str = "*"
    symbol: str = "*"


class CollectorStats(msgspec.Struct, frozen=True, gc=False):
    """One process's own figures, every 10 s. Counters run from the start of the process."""

    ts: int
    process: str
    """host:pid, unique among running collectors."""
    rss: int
    """bytes"""
    swap: int
    """bytes"""
    cpu: float
    """CPU seconds, user + system."""
    threads: int
    fds: int
    messages: int
    rows: int
    bad_messages: int
    gaps: int
    reconnects: int
    journal_bytes: int
    """bytes on disk"""
    journal_pending_bytes: int
    """bytes in the journal that QuestDB has not acknowledged"""
    lag_ms: float
    """age of the oldest row that QuestDB has not acknowledged"""
    loop_lag_ms: float
    """worst delay of the event loop in the last 10 s"""
    dead_letters: int
    pss: int | None = None
    """bytes; RSS with shared pages divided by those who share them"""
    memory_limit: int = 0
    """bytes that the control group allows; 0: no limit"""
    gc_gen0: int = 0
    gc_gen1: int = 0
    gc_gen2: int = 0
    """Collections of Python's garbage collector."""
    decode_p50_us: float | None = None
    decode_p99_us: float | None = None
    decode_max_us: float | None = None
    """µs from a message's bytes to its items, of the messages timed since the row before"""
    handle_p50_us: float | None = None
    handle_p99_us: float | None = None
    handle_max_us: float | None = None
    """µs from its items into the journal's batch"""
    silences: int = 0
    journal_age_ms: float = 0.0
    """since the receipt of the oldest row that QuestDB has not acknowledged; 0: none waits"""
    wal_lag: int | None = None
    """transactions that QuestDB has accepted and not yet applied, of the worst table"""
    wal_suspended: int | None = None
    """tables"""
    journal_disk_free: int | None = None
    """bytes"""
    server_disk_free: int | None = None
    """bytes, where the server's disk is this machine's"""
    collector: str = ""
    """Whose row it is, by its journal (`JournalStore.collector`); empty: that of the encoder."""


class StreamStats(msgspec.Struct, frozen=True, gc=False):
    """What came for one channel of one market, every 10 s. Counters run from the start of the process."""

    ts: int
    process: str
    """host:pid"""
    exchange: str
    market: str
    channel: str
    """"" has what is of no channel that can be told."""
    messages: int
    rows: int
    bytes: int
    """of the messages"""
    bad: int
    """messages, or parts of them, that could not be read or stored"""
    reconnects: int
    silences: int


class ProcessEvent(msgspec.Struct, frozen=True, gc=False):
    """A start or an end of a process: of this one, or of QuestDB as this one saw it."""

    ts: int
    """Of an end that only the next start can tell: the last sign of life."""
    program: str
    process: str
    """host:pid; of a QuestDB that is not managed host:port"""
    event: str
    """started, stopped, crashed; of QuestDB also away: not to be reached, nothing tells why"""
    cause: str
    """stopped: SIGTERM, SIGINT, duration, error. crashed: killed, oom, watchdog, error, reboot. away: unreachable, unseen.
    started, what came before: first, stopped, crashed, away."""
    pid: int | None
    version: str
    uptime_s: float | None
    """seconds from the start to the end"""
    detail: str = ""
    until_ts: int | None = None
    """Of an end of QuestDB: when it answered again."""
    attempts: int | None = None
    """to reach it that failed; 0: nobody looked when it ended"""
    waiting_rows: int | None = None
    """rows that were in the journal for it when it answered again; None: not counted"""
    caught_up_ts: int | None = None
    """when the last of them was acknowledged"""
    log: str = ""
    """where its log goes: journal:UNIT (systemd's), file:PATH, terminal:DEVICE"""
    place: str = ""
    """the machine's boot and the process namespace, within which the pid names it"""
    collector: str = ""
    """Whose row it is, by its journal (`JournalStore.collector`); empty: that of the encoder."""


Row = (
    Trade
    | BookSnapshot
    | Liquidation
    | Ticker
    | FeedEvent
    | Gap
    | ListedInstrument
    | Alert
    | CollectorStats
    | StreamStats
    | ProcessEvent
)
