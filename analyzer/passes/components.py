"""What the six components of the confluence read, and how each number leans: −1 (down) to 1 (up).

A component is 50 + 50 × the mean of the leans that are there: 50 says nothing of direction. The formulas are ours; the
bounds at which a lean is full are those that traders commonly call extreme. `clip` cuts at −1 and 1. An input that needs a
number that isn't there, or that divides by nothing, is left out.

| Component | Input | Lean |
|---|---|---|
| order_flow | taker_imbalance | clip(2 × (buys − sells) / (buys + sells)) |
| | large_orders | (buys − sells) / (buys + sells) of the notional of large orders |
| | divergence | (bull − bear) / both divergences of price and CVD |
| | ofi_move | tanh(β × OFI / realized volatility): the move that order-flow imbalance explains, by the usual move |
| order_book | top_imbalance, near_imbalance | clip(2 × (bids − asks) / (bids + asks)) of the top 5 levels, of 10 bps |
| | microprice | clip((microprice − mid) / half the spread) at the end |
| | absorption | (bids that absorbed − asks that did) / both |
| volume | vwap | tanh((last price − vwap) / σ of prices around it) |
| | value_area | clip((close − middle of the value area) / half its height) |
| | money_flow | clip(4 × CMF): 0.25 is a lot |
| | on_balance | OBV / volume |
| | move | tanh(return / realized volatility) × min(relative volume / 2, 1): a move on little volume counts for less |
| structure | range | 2 × position in the range − 1 |
| | trend | sign of the slope × R² |
| | break | the newest break's direction × ½^(its age / 20 bars) |
| | gaps | (open bull − open bear) / both fair-value gaps |
| technical, each length | rsi | clip((RSI − 50) / 20) |
| | trend | (+DI − −DI) / (+DI + −DI) × min(ADX / 25, 1) |
| | cci | clip(CCI / 100) |
| | williams_r | (%R + 50) / 50 |
| | ao | tanh(AO / ATR) |
| sentiment | funding | −clip(rate / 0.05 %): who pays a lot is crowded |
| | premium | clip((mark − index) / 10 bps) |
| | liquidations | (shorts − longs) / (shorts + longs) of liquidated notional: forced sales press down |
| | opened | (longs − shorts) / (longs + shorts) opened |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from analyzer.passes.technical import LENGTHS

CROWDED = 0.0005
"""Funding rate, an interval."""
PREMIUM_BPS = 10.0
BREAK_BARS = 20
FULL_TREND = 25.0
"""ADX above which Wilder's readers speak of a trend."""


class Input(msgspec.Struct, frozen=True):
    name: str
    reads: tuple[str, ...]
    """`analysis.metric`: the arguments of `lean`."""
    lean: Callable[..., float]


class Component(msgspec.Struct, frozen=True):
    channel: str
    """The recorded channel without which it has nothing to say."""
    inputs: tuple[Input, ...]


def clip(x: float) -> float:
    return max(-1.0, min(1.0, x))


def _opposed(up: float, down: float) -> float:
    return (up - down) / (up + down)


def _technical(length: str) -> tuple[Input, ...]:
    def read(*names: str) -> tuple[str, ...]:
        return tuple(f"technical.{name}_{length}" for name in names)

    return (
        Input(f"rsi_{length}", read("rsi"), lambda rsi: clip((rsi - 50) / 20)),
        Input(
            f"trend_{length}",
            read("plus_di", "minus_di", "adx"),
            lambda plus, minus, adx: _opposed(plus, minus) * min(adx / FULL_TREND, 1.0),
        ),
        Input(f"cci_{length}", read("cci"), lambda cci: clip(cci / 100)),
        Input(f"williams_r_{length}", read("williams_r"), lambda r: clip((r + 50) / 50)),
        Input(f"ao_{length}", read("ao", "atr"), lambda ao, atr: math.tanh(ao / atr)),
    )


COMPONENTS: dict[str, Component] = {
    "order_flow": Component(
        "trades",
        (
            Input("taker_imbalance", ("flow.imbalance",), lambda x: clip(2 * x)),
            Input("large_orders", ("whales.whale_imbalance",), clip),
            Input("divergence", ("divergence.divergence_bull", "divergence.divergence_bear"), _opposed),
            Input(
                "ofi_move",
                ("quotes.ofi_impact", "quotes.ofi", "bars.realized_vol"),
                lambda impact, ofi, vol: math.tanh(impact * ofi / (vol * 1e4)),
            ),
        ),
    ),
    "order_book": Component(
        "orderbook",
        (
            Input("top_imbalance", ("book.imbalance",), lambda x: clip(2 * x)),
            Input("near_imbalance", ("depth.imbalance_10bps",), lambda x: clip(2 * x)),
            Input(
                "microprice",
                ("book.microprice", "book.mid", "quotes.spread_last_bps"),
                lambda micro, mid, spread: clip((micro / mid - 1) * 2e4 / spread),
            ),
            Input("absorption", ("absorption.absorption_bid", "absorption.absorption_ask"), _opposed),
        ),
    ),
    "volume": Component(
        "trades",
        (
            Input("vwap", ("profile.vwap_z",), math.tanh),
            Input(
                "value_area",
                ("bars.close", "profile.value_area_low", "profile.value_area_high"),
                lambda close, low, high: clip((2 * close - low - high) / (high - low)),
            ),
            Input("money_flow", ("volume.cmf",), lambda x: clip(4 * x)),
            Input("on_balance", ("volume.obv", "bars.volume"), lambda obv, volume: clip(obv / volume)),
            Input(
                "move",
                ("bars.return", "bars.realized_vol", "volume.relative_volume"),
                lambda move, vol, usual: math.tanh(move / vol) * min(usual / 2, 1.0),
            ),
        ),
    ),
    "structure": Component(
        "trades",
        (
            Input("range", ("structure.range_position",), lambda x: clip(2 * x - 1)),
            Input(
                "trend",
                ("structure.trend_slope", "structure.trend_r2"),
                lambda slope, fit: math.copysign(fit, slope) if slope else 0.0,
            ),
            Input(
                "break",
                ("structure.last_break", "structure.last_break_age_s", "structure.bar_s"),
                lambda way, age, bar: way * 0.5 ** (age / (BREAK_BARS * bar)),
            ),
            Input("gaps", ("structure.fvg_bull_open", "structure.fvg_bear_open"), _opposed),
        ),
    ),
    "technical": Component("trades", tuple(one for length in LENGTHS for one in _technical(length))),
    "sentiment": Component(
        "tickers",
        (
            Input("funding", ("derivatives.funding_rate",), lambda rate: -clip(rate / CROWDED)),
            Input("premium", ("derivatives.mark_index_bps",), lambda bps: clip(bps / PREMIUM_BPS)),
            Input("liquidations", ("liquidations.liq_imbalance",), lambda x: clip(-x)),
            Input("opened", ("derivatives.opened_imbalance",), clip),
        ),
    ),
}
NEEDS = tuple(
    sorted({read.partition(".")[0] for one in COMPONENTS.values() for i in one.inputs for read in i.reads})
)
"""The analyses that they read."""


def leans(component: Component, numbers: Mapping[str, float]) -> dict[str, float]:
    """Input → lean, of those whose numbers are all there. `numbers`: `analysis.metric` → value."""
    found: dict[str, float] = {}
    for one in component.inputs:
        known = [numbers[read] for read in one.reads if read in numbers]
        if len(known) < len(one.reads):
            continue
        try:
            lean = one.lean(*known)
        except (ZeroDivisionError, ValueError, OverflowError):
            continue
        if math.isfinite(lean):
            found[one.name] = lean
    return found
