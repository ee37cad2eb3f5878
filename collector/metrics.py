"""The process's own figures: plain counters that the data path increments, read by /metrics and `collector_stats`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collector import bounds
from collector.stopwatch import Times
from collector.tally import Count, Tally


@dataclass(slots=True)
class Metrics:
    """Counters run from the start of the process; gauges are read when asked for."""

    messages: int = 0
    bad_messages: int = 0
    tallies: list[Tally] = field(default_factory=list)
    """One a feed of the configuration."""
    shed: dict[str, int] = field(default_factory=dict)
    """By table, given up because the journal's quota was near; each interval is a row in `gaps`."""
    gaps: int = 0
    connects: int = 0
    reconnects: int = 0
    posts: int = 0
    posted_rows: int = 0
    posted_bytes: int = 0
    post_failures: int = 0
    dead_letters: int = 0
    damaged_bytes: int = 0
    wal: Callable[[], tuple[int, int] | None] = lambda: None
    """Of QuestDB's write-ahead logs: lag of the worst table (transactions), number of suspended tables; None: not known."""
    times: Times = field(default_factory=Times)
    shipped_recv_us: int = 0
    """Time of receipt of the newest row that QuestDB has acknowledged."""
    gauges: dict[str, tuple[str, Callable[[], float | None]]] = field(default_factory=dict)
    """Name → (help, reader); None: not known."""
    fills: dict[str, Callable[[], float]] = field(default_factory=dict)
    """Name of a bound → how full its buffer is (bytes)."""

    @property
    def rows(self) -> dict[str, int]:
        """By table, written to the journal."""
        total: defaultdict[str, int] = defaultdict(int)
        for tally in self.tallies:
            for table, count in list(tally.rows.items()):
                total[table] += count
        return dict(total)

    def streams(self) -> dict[tuple[str, str, str], Count]:
        """By (exchange, market, channel); channel "" has what is of none that can be told."""
        total: defaultdict[tuple[str, str, str], Count] = defaultdict(Count)
        for tally in self.tallies:
            for channel, count in tally.counts():
                sums = total[tally.exchange, tally.market, channel]
                for name in Count.__struct_fields__:
                    setattr(sums, name, getattr(sums, name) + getattr(count, name))
        return dict(total)


class MetricsCollector(Collector):
    """Prometheus' view of `Metrics`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        for name, text in (
            ("messages", "Messages received"),
            ("bad_messages", "Messages, or parts of them, that could not be read"),
            ("gaps", "Gaps opened"),
            ("connects", "Connections opened"),
            ("reconnects", "Connections lost and opened again"),
            ("posts", "Batches that QuestDB acknowledged"),
            ("posted_rows", "Rows that QuestDB acknowledged"),
            ("posted_bytes", "Bytes that QuestDB acknowledged"),
            ("post_failures", "Attempts to post that failed"),
            ("dead_letters", "Rows and messages put aside"),
            ("damaged_bytes", "Bytes of the journal found damaged"),
        ):
            yield CounterMetricFamily(f"evenkeel_{name}", text, value=getattr(self._metrics, name))
        for name, text, by_table in (
            ("rows", "Rows written to the journal", self._metrics.rows),
            ("shed", "Rows given up because the journal's quota was near", self._metrics.shed),
        ):
            family = CounterMetricFamily(f"evenkeel_{name}", text, labels=["table"])
            for table, value in list(by_table.items()):
                family.add_metric([table], value)
            yield family
        streams = self._metrics.streams()
        for name, text in (
            ("messages", "Messages received"),
            ("bytes", "Bytes of messages received"),
            ("rows", "Rows written to the journal"),
            ("bad", "Messages, or parts of them, that could not be read or stored"),
            ("reconnects", "Connections lost and opened again"),
            ("silences", "Silences after which the venue was asked anew"),
        ):
            family = CounterMetricFamily(
                f"evenkeel_stream_{name}", text, labels=["exchange", "market", "channel"]
            )
            for stream, sums in streams.items():
                family.add_metric(stream, getattr(sums, name))
            yield family
        limit = GaugeMetricFamily("evenkeel_buffer_limit_bytes", "Bound of a buffer", labels=["buffer"])
        fill = GaugeMetricFamily("evenkeel_buffer_bytes", "Fill of a buffer", labels=["buffer"])
        for bound in bounds.BOUNDS:
            limit.add_metric([bound.name], bound.limit)
            fill.add_metric([bound.name], self._metrics.fills.get(bound.name, lambda: 0.0)())
        yield from (limit, fill)
        for name, (text, read) in self._metrics.gauges.items():
            if (reading := read()) is not None:
                yield GaugeMetricFamily(f"evenkeel_{name}", text, value=reading)
        yield from self._times()

    def _times(self) -> Iterator[Metric]:
        """Of the last 10 s."""
        times = self._metrics.times
        for name, text, spread in (
            ("decode", "From a message's bytes to its items, of those timed", times.decode_spread),
            ("handle", "From its items into the journal's batch", times.handle_spread),
        ):
            family = GaugeMetricFamily(f"evenkeel_{name}_seconds", text, labels=["quantile"])
            if spread is not None:
                for quantile, value in zip(("0.5", "0.99", "1"), spread, strict=True):
                    family.add_metric([quantile], value / 1e6)
            yield family
