"""Tests of `cmp_core.measurement.options`: what a metric's options may be."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from cmp_core import LayerView, Positive, PositiveInt, metric
from cmp_core.errors import UsageError
from cmp_core.measurement.metric import definition_of
from cmp_metrics.gaussian_entropy_ema import GaussianEntropyEma


def test_options_without_a_default_must_be_given() -> None:
    @metric("needs_k")
    def needs_k(view: LayerView, *, k: int) -> float:
        """Has an option without a default."""
        return float(k)

    with pytest.raises(UsageError, match="option 'k' has no default; give it"):
        definition_of(needs_k)()
    assert definition_of(needs_k)(k=3).options == {"k": 3}


@metric("picky")
def picky(
    view: LayerView,
    *,
    k: PositiveInt = 1,
    scale: Positive = 1.0,
    kind: Literal["a", "b"] = "a",
    flag: bool = False,
    shift: float = 0.0,
) -> float:
    """Has options of every type that is checked."""
    return 0.0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("k", 0, "expected a whole number above 0, got int 0"),
        ("k", 1.5, "expected a whole number above 0, got float 1.5"),
        ("scale", -1, "expected a number above 0, got int -1"),
        ("scale", float("inf"), "expected a number above 0, got float inf"),
        ("kind", "c", "expected one of a, b, got str 'c'"),
        ("flag", 1, "expected true or false, got int 1"),
        ("shift", "much", "expected a number, got str 'much'"),
        ("shft", 1.0, "unknown option 'shft'; did you mean 'shift'"),
    ],
)
def test_a_value_of_another_type_is_refused(option: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        definition_of(picky)(**{option: value})


def test_right_values_are_taken_as_they_are() -> None:
    options = {"k": 3, "scale": 2, "kind": "b", "flag": True, "shift": -1}
    assert definition_of(picky)(**options).options == options


def test_a_class_may_refuse_a_value_itself() -> None:
    metric_of = definition_of(GaussianEntropyEma)
    with pytest.raises(UsageError, match="decay: expected a number from 0 to below 1, got 1"):
        metric_of(decay=1)
