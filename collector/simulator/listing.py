"""What the simulated venues share: how a listed symbol writes its numbers, and what every topic has."""

from __future__ import annotations

from datetime import UTC, datetime

from collector.simulator import ledger
from collector.simulator.market import SymbolMarket
from collector.simulator.orderbook import Side
from collector.simulator.wire import Message, Topic


def iso(ms: int) -> str:
    """With six digits behind the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}000Z"


class Prices(dict[int, str]):
    """Ticks → text, bounded."""

    def __init__(self, decimals: int, strip: bool) -> None:
        self._decimals, self._strip = decimals, strip

    def __missing__(self, tick: int) -> str:
        if len(self) > 200_000:
            self.clear()
        text = f"{tick / 10**self._decimals:.{max(2, self._decimals)}f}"
        self[tick] = text = text.rstrip("0").rstrip(".") if self._strip else text
        return text


class Listing:
    """One symbol on one market: its name and how it writes numbers."""

    def __init__(
        self,
        market: str,
        symbol: str,
        model: SymbolMarket,
        *,
        contract: float = 0.0,
        inverse: bool = False,
        strip: bool = False,
    ) -> None:
        """`contract`: sizes are whole contracts of so many base units, or quote units where `inverse`; 0: sizes are in
        base units. `strip`: numbers have no trailing zeros."""
        item = model.instrument
        self.market, self.symbol, self.model = market, symbol, model
        self.contract, self.inverse = contract, inverse
        self.price = Prices(item.price_decimals, strip)
        self._lot, self._decimals = 10**item.lot_decimals, item.lot_decimals
        self.qty = [self._amount(lots, 1) for lots in item.quantities]
        """Index of a size → text in the venue's unit."""
        self.qty.append("0")  # the index -1 deletes a level

    def _amount(self, lots: int, least: int) -> str:
        base = lots / self._lot
        if not self.contract:
            return f"{base:.{self._decimals}f}"
        value = base * self.model.instrument.price(self.model.instrument.first_tick) if self.inverse else base
        return str(max(least, round(value / self.contract)))

    def lots(self, lots: int) -> str:
        """A number of lots in the venue's unit."""
        return self._amount(lots, 0)

    def base(self, qty: str, price: str) -> str:
        """A size in base units, as the ledger has it."""
        if not self.contract:
            return qty
        value = float(qty) * self.contract if self.contract != 1 else float(qty)
        return repr(value / float(price) if self.inverse else value)

    def best(self, side: Side) -> str:
        """ "price,size" of the best level in base units, as the ledger has it."""
        key = side.keys[-1]
        price = self.price[key * side.sign]
        return f"{price},{self.base(self.qty[side.sizes[key]], price)}"


class TopicBase:
    """See `wire.Topic`, and `market` for the kinds."""

    kind = -1
    is_delta = False
    also: Topic | None = None

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        self.listing, self.model, self.name = listing, listing.model, name
        self.index = listing.model.index
        self.where = (listing.market, listing.symbol)
        self.started_ms = started_ms

    def book_entry(
        self, ts: int, push: int, seq: int, depth: int, snap: bool = False, rep: bool = False
    ) -> str:
        """The ledger's account of the book as it is now. Times in ms."""
        bid, ask = self.listing.best(self.model.bids), self.listing.best(self.model.asks)
        return ledger.book(*self.where, ts, push, seq, depth, int(snap), bid, ask, int(rep))

    def snapshot(self, now_ms: int) -> Message | None:
        return None

    def repeat(self, now_ms: int) -> Message | None:
        return None
