"""Tests of `cmp_core.statistics.kernels`: densities and influences against all pairs at once."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cmp_core.statistics.kernels import KernelDensities
from cmp_core.statistics.moments import gram_panels

Array = NDArray[np.float64]
WIDTHS = (0.25, 1.0, 0.7)


def mean_log_density(x: Array, width: float, weights: Array | None = None) -> float:
    """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2wv) of weighted samples."""
    w = np.full(len(x), 1 / len(x)) if weights is None else weights / weights.sum()
    variance = (w @ (x - w @ x) ** 2).sum()
    squares = ((x[:, None] - x[None]) ** 2).sum(2)
    density: float = w @ np.log(np.exp(-squares / (2 * width * variance)) @ w)
    return density


def densities(*layers: Array) -> KernelDensities:
    """Return the densities of layers of one width, from the panels of their Gram matrices."""
    rows = torch.from_numpy(np.stack([x - x.mean(0) for x in layers]))
    lengths = rows.square().sum(dim=2)
    variances = lengths.mean(dim=1)
    panels = partial(gram_panels, rows)
    return KernelDensities(panels, lengths / variances[:, None], variances, WIDTHS)


@pytest.mark.parametrize("n", [2, 127, 128, 300])  # one panel, just one, and several
def test_densities_are_those_of_all_pairs_at_once(n: int) -> None:
    rng = np.random.default_rng(n)
    layers = rng.normal(size=(n, 5)) + 3, np.maximum(rng.normal(size=(n, 5)), 0)
    found = densities(*layers).means().log().mean(dim=2)
    wanted = [[mean_log_density(x, width) for x in layers] for width in WIDTHS]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_influences_are_the_derivatives_by_the_samples_weights() -> None:
    x = np.random.default_rng(0).normal(size=(150, 4)) * [3, 1, 1, 0.1]
    kernels = densities(x)
    found = kernels.influences(kernels.means())[:, 0].numpy()
    step = 1e-6
    for i in (0, 77, 149):
        more, less = np.ones(len(x)), np.ones(len(x))
        more[i] += step
        less[i] -= step
        for width, own in zip(WIDTHS, found, strict=True):
            change = mean_log_density(x, width, more) - mean_log_density(x, width, less)
            assert own[i] == pytest.approx(change / (2 * step) * len(x), rel=1e-5, abs=1e-7)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-12)
