"""The micro-price: where the mid is expected to be, given the imbalance and the spread of the touch.

Stoikov (2018), The micro-price: a high-frequency estimator of future prices, Quantitative Finance 18 (12). It's a martingale
by construction, unlike the mid weighted by the opposite sizes (`book`'s `microprice`), with which that paper compares it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BUCKETS = 5
"""Of imbalance, of equal width; odd, so that a balanced book has one of its own."""
WIDE = 1.5
"""A spread above this multiple of the smallest one is wide: two states of it."""
MIN_VISITS = 10
"""Steps seen from the state that is asked for, mirrored ones included."""
ROUNDS = 1000


def states(bid_size: Any, ask_size: Any, spread: Any) -> Any:
    """Per observation: imbalance bucket + BUCKETS × (the spread is wide)."""
    imbalance = bid_size / (bid_size + ask_size)
    bucket = np.minimum((imbalance * BUCKETS).astype(np.int64), BUCKETS - 1)
    return bucket + BUCKETS * (spread > WIDE * np.min(spread))


def mirrored(state: Any) -> Any:
    """The state of the same book with its sides exchanged."""
    return state - state % BUCKETS + (BUCKETS - 1 - state % BUCKETS)


def adjustment(before: Any, after: Any, moves: Any, state: int) -> float | None:
    """Micro-price − mid in `state`, in the unit of `moves`; None where the steps don't determine it.

    `before`, `after`: states of successive observations; `moves`: change of the mid between them. Each step counts once as
    it is and once mirrored, which makes the estimate antisymmetric and the sum converge, as there.
    With Q: P(no move, to y), T: P(move, to y), r: E[move]: G1 = (I − Q)⁻¹ r, B = (I − Q)⁻¹ T, adjustment = Σ Bⁱ G1."""
    x = np.concatenate((before, mirrored(before)))
    y = np.concatenate((after, mirrored(after)))
    change = np.concatenate((moves, -moves))
    count = 2 * BUCKETS
    visits = np.bincount(x, minlength=count)
    if visits[state] < MIN_VISITS:
        return None
    still = change == 0
    q, t = np.zeros((count, count)), np.zeros((count, count))
    np.add.at(q, (x[still], y[still]), 1.0)
    np.add.at(t, (x[~still], y[~still]), 1.0)
    total = np.maximum(visits, 1)
    r = np.bincount(x, weights=change, minlength=count) / total
    try:
        solved = np.linalg.solve(np.eye(count) - q / total[:, None], np.column_stack((r, t / total[:, None])))
    except np.linalg.LinAlgError:  # states that the mid never leaves: nothing says where it would go
        return None
    first, b = solved[:, 0], solved[:, 1:]
    if not np.allclose(b.sum(axis=1)[visits > 0], 1.0, atol=1e-6):
        return None
    term, result = first, first.copy()
    for _ in range(ROUNDS):
        term = b @ term
        result += term
        if np.max(np.abs(term)) <= 1e-9 * np.max(np.abs(first)):
            return float(result[state])
    return None
