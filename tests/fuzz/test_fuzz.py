"""The short form of `python -m tests.fuzz`: fixed seeds, every decoder, the journal's reader."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from collector.encode import RowEncoder
from collector.exchanges import EXCHANGES
from collector.exchanges.base import Bad, Broken
from collector.rows import BookSnapshot, Trade
from collector.simulator import SIMULATORS
from tests.collector.bybit_messages import book, decoder, feed, trade
from tests.fuzz.decoders import Counts, fuzz
from tests.fuzz.invariants import Violation, check_row, check_unreadable, is_json
from tests.fuzz.segments import fuzz_segment
from tests.fuzz.venues import simulated


@pytest.mark.parametrize("first", range(0, 60, 15))
def test_mutated_messages_break_no_invariant(first: int) -> None:
    counts, encoder = Counts(), RowEncoder()
    for seed in range(first, first + 15):
        fuzz(seed, counts, encoder, wanted=60)
    assert counts.messages >= 15 * 50
    assert counts.bad > 0
    assert counts.rows > 500


def test_mutated_segments_break_no_invariant(tmp_path: Path) -> None:
    read, damages = (sum(one) for one in zip(*(fuzz_segment(n, tmp_path) for n in range(1500)), strict=True))
    assert read > 1500
    assert damages > 500


def test_every_exchange_is_fuzzed() -> None:
    """A venue without a simulator would be left out silently."""
    assert EXCHANGES.keys() <= SIMULATORS.keys()
    seen = {simulated(random.Random(seed))[0].feed.exchange for seed in range(40 * len(EXCHANGES))}
    assert seen == set(EXCHANGES)


def test_the_invariants_can_fail() -> None:
    """What checks is checked: rows that are wrong, and silence about what is unreadable."""
    settings, streams = feed(), frozenset({("trades", "BTCUSDT"), ("orderbook", "BTCUSDT")})
    (good,) = decoder().decode(trade(), 1)
    assert isinstance(good, Trade)
    check_row(good, settings, streams)
    fields = {name: getattr(good, name) for name in good.__struct_fields__}
    for wrong in ({"price": float("nan")}, {"qty": 0.0}, {"side": "Buy"}, {"ts": 0}, {"trade_id": ""}):
        with pytest.raises(Violation):
            check_row(Trade(**(fields | wrong)), settings, streams)
    with pytest.raises(Violation):
        check_row(good, settings, frozenset())
    items = decoder().decode(book("snapshot", 5, [["100", "1"], ["99", "1"]], [["101", "1"]]), 1)
    (row,) = [item for item in items if isinstance(item, BookSnapshot)]
    check_row(row, settings, streams)
    upside_down = msgspec.structs.replace(row, bids=row.bids[:, ::-1])
    with pytest.raises(Violation):
        check_row(upside_down, settings, streams)
    assert not is_json(b'{"a":NaN}')
    with pytest.raises(Violation, match="not said"):
        check_unreadable(b"{", [], None, False)
    with pytest.raises(Violation, match="breaks"):
        check_unreadable(b"{", [Bad("x")], ("trades", "BTCUSDT"), True)
    broken = Broken("trades", "BTCUSDT", 1, "malformed_message")
    check_unreadable(b"{", [Bad("x"), broken], ("trades", "BTCUSDT"), True)
