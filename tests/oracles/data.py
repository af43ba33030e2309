"""Activations of the kinds that break careless formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

N, P, Q, C = 150, 12, 9, 4


def random(rng: np.random.Generator, n: int = N) -> tuple[Array, Array]:
    """Correlated layers without structure."""
    x = rng.normal(size=(n, P))
    return x, x @ rng.normal(size=(P, Q)) + rng.normal(size=(n, Q))


def low_rank(rng: np.random.Generator, n: int = N) -> tuple[Array, Array]:
    """Two directions in twelve units, and their square in nine."""
    z = rng.normal(size=(n, 2))
    return z @ rng.normal(size=(2, P)), (z**2) @ rng.normal(size=(2, Q))


def ill_conditioned(rng: np.random.Generator, n: int = N) -> tuple[Array, Array]:
    """Variances over eight decades, turned away from the axes."""
    turn = np.linalg.qr(rng.normal(size=(P, P)))[0]
    x = rng.normal(size=(n, P)) * np.logspace(0, -4, P)
    return x @ turn, x[:, :Q] * np.logspace(-4, 0, Q)


def sparse(rng: np.random.Generator, n: int = N) -> tuple[Array, Array]:
    """ReLU activations, mostly zero, a unit dead."""
    x = np.maximum(rng.normal(size=(n, P)) - 0.8, 0)
    x[:, 3] = 0
    return x, np.maximum(x @ rng.normal(size=(P, Q)) - 0.5, 0)


def offset(rng: np.random.Generator, n: int = N) -> tuple[Array, Array]:
    """A common offset a thousand times the spread."""
    x, y = random(rng, n)
    return x + 1e3, y - 1e3


def wide(rng: np.random.Generator, n: int = 40) -> tuple[Array, Array]:
    """More units than samples."""
    x = np.maximum(rng.normal(size=(n, 100)), 0)
    return x, np.maximum(x @ rng.normal(size=(100, 70)) / 10, 0)


KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (random, low_rank, ill_conditioned, sparse, offset, wide)
}


def make(kind: str, seed: int = 0) -> tuple[Array, Array, NDArray[np.int64]]:
    """Return two layers of a kind, and labels that the first tells something about."""
    rng = np.random.default_rng(seed)
    x, y = KINDS[kind](rng)
    scores = (x - x.mean(0)) @ rng.normal(size=(x.shape[1], C))
    noise = rng.normal(size=scores.shape) * scores.std()
    return x, y, (scores + noise).argmax(1)
