"""Tests of `cmp_core.statistics.mixed`: which layers take which form, of many samples at hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmp_core.statistics.arrays import statistics_of
from cmp_core.statistics.batch import LARGEST_GRAM, MixedSampleMoments
from cmp_core.statistics.mixed import is_wide
from tests.oracles import metrics as oracles

N = LARGEST_GRAM + 6


def test_a_layer_is_wide_with_as_many_units_as_samples() -> None:
    assert is_wide(5, 5)
    assert not is_wide(6, 5)


def test_each_layer_of_many_samples_takes_its_own_form() -> None:
    rng = np.random.default_rng(0)
    narrow = rng.normal(size=(N, 5)) + 2
    wide = narrow @ rng.normal(size=(5, N + 10)) + rng.normal(size=(N, N + 10))
    first, second = statistics_of(narrow, wide)
    moments = first._all.moments
    assert isinstance(moments, MixedSampleMoments)
    assert (moments.narrow, moments.wide) == (["layer_0"], ["layer_1"])
    for x, found in ((narrow, first), (wide, second)):
        assert float(found.variance()) == pytest.approx(x.var(axis=0).sum(), rel=1e-9)
        assert found.mean().numpy() == pytest.approx(x.mean(axis=0), rel=1e-9, abs=1e-9)
        wanted = 2 * oracles.gaussian_entropy(x) - x.shape[1] * np.log(2 * np.pi * np.e)
        assert float(found.shrunk_log_det()) == pytest.approx(wanted, rel=1e-9)
    errors = oracles.squared_errors(narrow, wide, 0.01)
    assert first.held_out_errors(second).numpy() == pytest.approx(errors, rel=1e-6)
    assert float(first.hsic(second)) == pytest.approx(oracles.hsic(narrow, wide), rel=1e-6)
    assert torch.stack([first.shrinkage(), second.shrinkage()]).isfinite().all()
