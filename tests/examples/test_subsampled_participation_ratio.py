"""Tests of the example plugin `subsampled_participation_ratio`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from cmp_core import UndefinedError, UsageError
from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import measure
from cmp_metrics.participation_ratio import participation_ratio
from tests.oracles import metrics as oracles

NAME = "subsampled_participation_ratio"
PLUGINS = load_plugins([f"cmp:{NAME}"], built_ins=())
MODULE = PLUGINS.manager.get_plugin(NAME)
FACTORY = PLUGINS.registry.get("metric", NAME).factory
subsampled = getattr(MODULE, NAME)


def test_the_mean_over_all_choices_of_units_is_the_sum_over_all_units() -> None:
    """Both estimates are unbiased: exactly so over every subset of each size."""
    x = np.random.default_rng(0).normal(size=(20, 6)) @ np.diag([3, 1, 1, 2, 0.5, 1]) + 1
    x /= 2.0 ** np.floor(np.log2(np.abs(x).max()))  # which rescaling leaves as it is
    wanted = [oracles.squared_trace(x), oracles.hsic(x, x)]
    for q in range(2, 7):
        found = []
        for chosen in itertools.combinations(range(6), q):
            part = np.ascontiguousarray(x[:, chosen])
            unit = 2.0 ** np.floor(np.log2(np.abs(part).max()))
            found.append(MODULE._estimates(torch.from_numpy(part), 6).numpy() * unit**4)
        assert np.mean(found, axis=0) == pytest.approx(wanted, rel=1e-9)


def test_all_units_read_the_participation_ratio() -> None:
    for shape in ((30, 8), (12, 40)):
        x = np.random.default_rng(1).normal(size=shape)
        assert subsampled(x, shape[1]) == pytest.approx(participation_ratio(x), rel=1e-9)
        assert measure(FACTORY, x)[NAME] == pytest.approx(participation_ratio(x), rel=1e-9)


def test_some_units_read_what_all_of_them_do_and_not_less() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 600)) @ rng.normal(size=(600, 1000))
    whole = participation_ratio(x)
    found = [subsampled(x[:, rng.choice(1000, 128, replace=False)], 1000) for _ in range(12)]
    assert np.mean(found) == pytest.approx(whole, rel=0.02)
    assert participation_ratio(x[:, :128]) < whole / 2
    assert measure(FACTORY, x, units=128)[NAME] == pytest.approx(whole, rel=0.1)


def test_what_tells_nothing_is_refused() -> None:
    x = np.random.default_rng(3).normal(size=(9, 4))
    with pytest.raises(UsageError, match="width: expected at least the 4 units, got 3"):
        subsampled(x, 3)
    for few, width in ((x[:3], 9), (x[:, :1], 9), (0 * x, 9)):
        with pytest.raises(UndefinedError):
            subsampled(few, width)
