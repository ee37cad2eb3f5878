"""A venue-neutral market model: what happens, in ticks and lots, without formats, sockets or clock.

Each symbol's fair price is a random walk in log price whose volatility switches between regimes (calm, busy, wild) that
last hundreds of events, so that squared returns are correlated. A fourth regime, the cascade, drifts one way
while forced orders burst out. Everything is drawn in chunks by numpy from generators seeded by (seed, symbol), so the
same arguments give the same market, whoever listens. A tame market, in which nothing happens but what is planted: see
`plants`. Only the book is kept event by event, in plain Python.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

from collector.simulator.orderbook import Side
from collector.simulator.plants import FORCED_EVERY_S, WALL, WALL_LEVEL, WHALE, Course, Plants

TRADE, LIQUIDATION, TICKER, BOOK = range(4)

Fill = tuple[bool, int, int]
"""(the taker buys, price in ticks, index into `Instrument.quantities`)"""
Event = tuple[int, "SymbolMarket", list[Fill]]
"""(kind, symbol, fills). A BOOK or TICKER event has none: its content is the symbol's state until the next event."""

KNOWN = {"BTC": (65_000.0, 1, 3), "ETH": (1_920.0, 2, 2), "SOL": (150.0, 3, 1)}
"""base coin → (first price, decimals of the tick, decimals of the lot)"""
CALM, BUSY, WILD, CASCADE = range(4)
VOLATILITY = np.array([0.5, 1.0, 3.0, 2.0])
SPREAD = np.array([0.05, 0.4, 3.0, 6.0])
"""Mean number of ticks by which the spread exceeds one."""
DURATION = np.array([1500.0, 900.0, 250.0, 90.0])
"""Mean number of a symbol's events in a regime."""
NEXT = np.array(
    [[0.0, 0.75, 0.1, 0.15], [0.55, 0.0, 0.25, 0.2], [0.1, 0.35, 0.0, 0.55], [0.05, 0.25, 0.7, 0.0]]
)
KINDS = np.array([[0.357, 0.002, 0.081, 0.56], [0.25, 0.5, 0.05, 0.2]])
"""Shares of TRADE, LIQUIDATION, TICKER and BOOK outside and inside a cascade."""
TAME_NEXT = np.array([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
TAME_LEVELS = 3
"""Of a sweep, at most."""
ANNUAL_VOLATILITY = 0.6
SECONDS_A_YEAR = 365 * 86400.0
UNPACED_RATE = 50_000.0
"""Messages/s that an unpaced market is taken to have when its volatility an event is chosen."""
MOST_CHUNK = 2048
DRAWS = 8192


class Instrument:
    """What a symbol is: its grid and its table of sizes."""

    def __init__(self, symbol: str, tame: bool = False) -> None:
        rng = np.random.default_rng(zlib.crc32(symbol.encode()))
        base = symbol.removesuffix("USDT")
        price, decimals, lot_decimals = KNOWN.get(base, (0.0, 0, 0))
        if not price:
            price = float(10 ** rng.uniform(0, 4))
            decimals = max(0, 4 - math.floor(math.log10(price)))
            lot_decimals = max(0, min(5, 1 + math.floor(math.log10(price))))
        self.symbol = symbol
        self.base = base
        self.price_decimals = decimals
        self.lot_decimals = lot_decimals
        self.first_tick = round(price * 10**decimals)
        """20,000 ticks or more, so that a thousand levels fit under any price that the walk reaches."""
        while self.first_tick < 20_000:
            self.price_decimals += 1
            self.first_tick *= 10
        # Sizes have a heavy tail (log-normal body, Pareto end); trades, levels and forced orders draw from one table.
        dollars = np.concatenate([rng.lognormal(6.5, 1.6, 3900), 20_000 * (1 + rng.pareto(1.3, 196))])
        if tame:
            dollars = np.clip(rng.lognormal(8.5, 0.5, len(dollars)), math.exp(8.5) / 3, 3 * math.exp(8.5))
        lots = np.maximum(1, np.round(np.minimum(dollars, 5e6) / price * 10**lot_decimals)).astype(np.int64)
        self.quantities: list[int] = rng.permutation(lots).tolist()
        """Lots; a lot is 10**-lot_decimals."""
        _, distinct = np.unique(np.array(self.quantities), return_index=True)
        self.distinct: list[int] = rng.permutation(distinct).tolist()
        """Indices of sizes that all differ."""
        self.drawn = len(self.quantities)
        """Sizes behind these are planted ones: a wall's, a whale's."""
        if tame:
            self.quantities += [round(float(np.median(lots))) * times for times in (WALL, WHALE)]

    def price(self, tick: int) -> float:
        return tick / float(10**self.price_decimals)


def endless(draw: Callable[[], npt.NDArray[Any]]) -> Iterator[Any]:
    while True:
        yield from draw().tolist()


class SymbolMarket:
    """One symbol: its price process, and its book."""

    def __init__(
        self, instrument: Instrument, index: int, seed: int, rate: float, chunk: int, tame: bool = False
    ) -> None:
        """`rate`: this symbol's messages/s, which sets how far the price moves an event. `chunk`: events drawn at once."""
        self.instrument, self.index, self._tame = instrument, index, tame
        self.course = Course(instrument.first_tick)
        """Of a tame market."""
        self.wall_wanted = False
        self._wall: int | None = None
        """Key of a planted bid that stands."""
        self.delisted = False
        """Set by whoever runs the market: the venue lists it no more, and nothing happens any more."""
        self._rng = rng = np.random.default_rng([seed, index, zlib.crc32(instrument.symbol.encode())])
        kinds = KINDS.copy()
        if tame:  # by the second, not by the event
            kinds[0, LIQUIDATION] = min(kinds[0, LIQUIDATION], 1 / (FORCED_EVERY_S * rate))
        self._kinds = kinds.cumsum(axis=1)
        self._sigma = min(ANNUAL_VOLATILITY / math.sqrt(SECONDS_A_YEAR * rate), 30 / instrument.first_tick)
        self._log_price = 0.0
        self._regime, self._left, self._direction = BUSY, 200, 1
        self._chunk = chunk
        sizes = instrument.drawn
        self._size = endless(lambda: rng.integers(0, sizes, DRAWS)).__next__
        # Most changes are near the touch; a tail reaches through the whole book.
        self._offset = endless(
            lambda: np.where(
                rng.random(DRAWS) < 0.93, rng.exponential(9, DRAWS), rng.exponential(350, DRAWS)
            ).astype(int)
        ).__next__
        self._coin = endless(lambda: rng.random(DRAWS)).__next__
        self._few = endless(lambda: rng.geometric(0.4, DRAWS)).__next__
        self._forced = cycle(instrument.distinct).__next__
        deepen = zip(
            endless(lambda: rng.geometric(0.7, DRAWS)),
            endless(lambda: rng.integers(0, sizes, DRAWS)),
            strict=False,
        )
        self.bids = Side(1, instrument.first_tick, deepen)
        self.asks = Side(-1, instrument.first_tick + 1, deepen)
        self.last = self.high = self.low = instrument.first_tick
        """Ticks."""
        self.fair = float(instrument.first_tick)
        """Ticks."""
        self.volume = 0
        """Lots."""
        self.open_interest = (
            round(2e9 / instrument.price(instrument.first_tick)) * 10**instrument.lot_decimals
        )
        """Lots."""
        self.funding = 100
        """Millionths, an interval."""
        self._events = self._run()
        self.next: Callable[[], Event] = self._events.__next__

    def _regimes(self, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Regime and cascade direction of the next `count` events."""
        regimes, directions, lengths = [], [], []
        total = 0
        while total < count:
            length = min(self._left, count - total)
            regimes.append(self._regime)
            directions.append(self._direction)
            lengths.append(length)
            total += length
            self._left -= length
            if not self._left:
                self._regime = int(self._rng.choice(4, p=(TAME_NEXT if self._tame else NEXT)[self._regime]))
                self._left = 1 + int(self._rng.exponential(DURATION[self._regime]))
                self._direction = 1 if self._rng.random() < 0.4 else -1
        return np.repeat(regimes, lengths), np.repeat(directions, lengths)

    def _draw(self) -> zip[tuple[int, float, int, bool, int]]:
        """The next chunk: (kind, fair price in ticks, spread in ticks, the taker buys, cascade direction or 0)."""
        rng, count = self._rng, self._chunk
        regimes, directions = self._regimes(count)
        cascades = regimes == CASCADE
        shocks = rng.standard_t(5, count) * math.sqrt(3 / 5) * VOLATILITY[regimes]
        shocks += np.where(cascades, 1.5 * directions, 0.0)
        pull = -2e-4 * self._log_price  # towards the first price, so that no walk leaves the grid
        logs = np.clip(self._log_price + np.cumsum(shocks * self._sigma + pull), -0.3, 0.3)
        self._log_price = float(logs[-1])
        spreads = 1 + rng.poisson(SPREAD[regimes] * rng.gamma(2, 0.5, count))
        lean = np.where(cascades, 0.4 * directions, 0.35 * np.tanh(shocks))
        buys = rng.random(count) < 0.5 + lean
        kinds = (rng.random(count)[:, None] >= self._kinds[cascades.astype(int)]).sum(axis=1)
        return zip(
            np.minimum(kinds, BOOK).tolist(),
            (self.instrument.first_tick * np.exp(logs)).tolist(),
            spreads.tolist(),
            buys.tolist(),
            np.where(cascades, directions, 0).tolist(),
            strict=True,
        )

    def _run(self) -> Iterator[Event]:
        while True:
            for kind, fair, spread, buys, cascade in self._draw():
                self.fair = self.course.fair(fair) if self._tame else fair
                if kind == BOOK:
                    self._move(spread)
                    yield BOOK, self, []
                elif kind == TRADE:
                    yield TRADE, self, self._trades(buys)
                elif kind == LIQUIDATION:
                    yield LIQUIDATION, self, self._liquidations(cascade > 0 if cascade else buys)
                else:
                    self._drift(cascade)
                    yield TICKER, self, []

    def _trades(self, buys: bool) -> list[Fill]:
        """One fill, or a sweep over the best levels."""
        side = self.asks if buys else self.bids
        levels = 1 if self._coin() < 0.88 else 1 + self._few()
        if self._tame:
            levels = min(levels, TAME_LEVELS)
        fills = []
        for key in side.keys[: -levels - 1 : -1]:
            size = self._size()
            tick = key * side.sign
            fills.append((buys, tick, size))
            self.volume += self.instrument.quantities[size]
        self.last = tick = fills[-1][1]
        self.high, self.low = max(self.high, tick), min(self.low, tick)
        return fills

    def _liquidations(self, buys: bool) -> list[Fill]:
        """Forced orders, at prices a little beyond the touch. No two of the same millisecond have the same size."""
        best, step = (self.asks.best, 1) if buys else (self.bids.best, -1)
        orders = 1 if self._tame or self._coin() < 0.8 else self._few()
        return [(buys, best + step * self._offset(), self._forced()) for _ in range(orders)]

    def forced_sell(self) -> Event:
        return LIQUIDATION, self, self._liquidations(buys=False)

    def whale_buy(self) -> Event:
        """One fill at the best ask."""
        size, self.last = self.instrument.drawn + 1, self.asks.best
        self.volume += self.instrument.quantities[size]
        return TRADE, self, [(True, self.last, size)]

    def _build_wall(self) -> None:
        """Put up, keep, or take away the planted bid."""
        bids = self.bids
        if self.wall_wanted:
            if self._wall is None:
                self._wall = bids.keys[-1 - WALL_LEVEL]
            if self._wall <= bids.keys[-1] and bids.sizes.get(self._wall) != self.instrument.drawn:
                bids.set(self._wall, self.instrument.drawn)
        elif self._wall is not None:
            if self._wall in bids.sizes:
                bids.set(self._wall, self._size())
            self._wall = None

    def _drift(self, cascade: int) -> None:
        """Open interest and funding; liquidated positions are gone from the open interest."""
        lots = self.open_interest
        if self._coin() < 0.3 or cascade:
            lots += int(lots * 1e-5 * (self._coin() - (0.9 if cascade else 0.499)))
            self.open_interest = max(lots, 1)
        if self._coin() < 0.01:
            self.funding = max(-3000, min(3000, self.funding + round(20 * (self._coin() - 0.5))))

    def _move(self, spread: int) -> None:
        """One book update: the touch goes to the fair price, and a few levels change."""
        bid = int(self.fair - spread / 2)
        bids, asks = self.bids, self.asks
        bids.touched, asks.touched = {}, {}
        for side, best in ((bids, bid), (asks, -(bid + spread))):
            keys, sizes = side.keys, side.sizes
            side.retreat(best)
            top = keys[-1] if keys else best - 1
            if top < best:
                # A price that runs leaves a thinner book behind it.
                step = 1 + (best - top) // 8
                for key in range(top + step, best, step):
                    if self._coin() < 0.7:
                        side.set(key, self._size())
                side.set(best, self._size())
            for _ in range(self._few()):
                offset = self._offset()
                key = best - offset
                if key in sizes and offset and self._coin() < 0.35:
                    side.delete(key)
                else:
                    side.set(key, self._size())
            side.restock()
        if self.wall_wanted or self._wall is not None:
            self._build_wall()


class Market:
    """All symbols, in one order of events."""

    def __init__(
        self, symbols: list[str], seed: int = 1, rate: float = 0.0, plants: Sequence[str] | None = None
    ) -> None:
        """`rate`: messages/s over all symbols that the volatility an event is scaled to; 0 takes UNPACED_RATE. `plants`:
        names, of which none is a tame market; None: a wild one."""
        chunk = max(64, min(MOST_CHUNK, 65536 // len(symbols)))
        tame, each = plants is not None, (rate or UNPACED_RATE) / len(symbols)
        self.symbols = [
            SymbolMarket(Instrument(symbol, tame), index, seed, each, chunk, tame)
            for index, symbol in enumerate(symbols)
        ]
        self.plants = Plants(plants, self.symbols, seed) if plants is not None else None
        rng = np.random.default_rng([seed, len(symbols)])
        weights = 1 / np.sqrt(np.arange(1, len(symbols) + 1))
        weights /= weights.sum()
        self._order = endless(lambda: rng.choice(len(symbols), DRAWS, p=weights))

    def events(self) -> Iterator[Event]:
        """Endless. An event's book and ticker are the symbol's state until the next event is taken."""
        nexts = [symbol.next for symbol in self.symbols]
        for index in self._order:
            yield nexts[index]()


def generated_symbols(count: int) -> list[str]:
    return [f"S{number:04d}USDT" for number in range(1, count + 1)]
