"""Tests of `cmp_core.statistics.second_moments`: what follows from them, and from how few."""

from __future__ import annotations

import pytest
import torch

from cmp_core import statistics_of
from cmp_core.errors import UndefinedError
from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.second_moments import SecondMoments


def test_every_second_moment_has_its_line_in_the_layer() -> None:
    engine = {"scales", "inner", "own", "log_det", "shrunk_log_det"}
    engine |= {"require_layer", "require_pair", "hsic", "mean_log_kernel_density"}
    engine |= {"kernels", "kernel_means", "kernel_density_influences"}
    for name, method in vars(SecondMoments).items():
        if callable(method) and not name.startswith("_") and name not in engine:
            assert hasattr(LayerStatistics, name), name
            assert getattr(LayerStatistics, name).__doc__ == method.__doc__


def test_too_few_samples_are_undefined_and_not_zero() -> None:
    (one,) = statistics_of(torch.ones(1, 3))
    with pytest.raises(UndefinedError, match="at least 2 samples are needed, there are 1"):
        one.eigenvalues()
    with pytest.raises(UndefinedError, match="at least 4 samples are needed, there are 1"):
        one.squared_norm()
