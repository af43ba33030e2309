"""Tests of `cmp_core.analysis.inference` against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from cmp_core.analysis.inference import holm, kappa

right = arrays(np.bool_, 30)


@given(right, right)
def test_kappa_is_scikit_learns(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> None:
    if {first.all(), (~first).all(), second.all(), (~second).all()} == {np.False_}:
        assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    else:
        assert math.isnan(kappa(first, second))


def test_kappa_by_hand() -> None:
    first = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    second = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)
    assert kappa(first, second) == pytest.approx((0.8 - 0.58) / (1 - 0.58))
    assert kappa(first, first) == 1


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    adjusted = holm(p)
    assert len(adjusted) == len(p)
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(np.argsort(p, kind="stable")):  # as Holm's paper has it
            if p[index] * (len(p) - rank) > level:
                break
            rejected.add(int(index))
        assert {i for i, value in enumerate(adjusted) if value <= level} == rejected
