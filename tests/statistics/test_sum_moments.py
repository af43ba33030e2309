"""Tests of `cmp_core.statistics.sum_moments`: moments of sums against those of all samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmp_core.errors import UsageError
from cmp_core.layers.layer import Layer
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.sum_moments import SumMoments
from cmp_core.statistics.sums import SplitSums
from tests.oracles import metrics as oracles

N = 60
RNG = np.random.default_rng(0)
ARRAYS = [RNG.normal(size=(N, p)) + 3 for p in (7, 5, 4)]


def moments(*wanted: str) -> SumMoments:
    """Return the moments of three layers that come in chunks of nine samples."""
    sums = SplitSums(frozenset(wanted), torch.device("cpu"))
    for where in torch.arange(N).split(9):
        rows = (torch.from_numpy(array[where]) for array in ARRAYS)
        layers = [Layer(f"layer_{i}", i, "", x) for i, x in enumerate(rows)]
        sums.update(layers, where, None)
    return SumMoments(sums, N, Guards())


def test_moments_of_a_layer_are_those_of_all_samples() -> None:
    found = moments("own")
    for i, x in enumerate(ARRAYS):
        scale = float(found.scales()[i])
        centred = x - x.mean(0)
        np.testing.assert_allclose(found.mean(i) * scale, x.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.unit_variances(i) * scale**2, x.var(0), rtol=1e-9)
        np.testing.assert_allclose(found.scatter(i) * scale**2, centred.T @ centred, atol=1e-9)


def test_of_pairs_there_are_neighbours_alone() -> None:
    found = moments("own", "next")
    unit = float(found.scales()[0] * found.scales()[1]) ** 2
    wanted = oracles.hsic(ARRAYS[0], ARRAYS[1])
    assert float(found.hsic()[0, 1]) * unit == pytest.approx(wanted, rel=1e-9)
    assert found.hsic()[0, 2].isnan()
    with pytest.raises(UsageError, match="no sums over the split of layer_0 and layer_2"):
        found.require_pair(0, 2)
