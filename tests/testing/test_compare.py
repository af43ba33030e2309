"""Tests of `cmp_core.testing.compare`: which values count as equal."""

from __future__ import annotations

import pytest

from cmp_core.events.rows import Row, Value
from cmp_core.testing.compare import EXACT, Key, assert_equal, numbers_of, values_of


def key(layer: str = "layer_0") -> Key:
    return (layer, "mine", None, False)


def test_rows_without_a_value_do_not_count() -> None:
    rows = [Row("layer_0", "mine", 0.5, 3), Row("layer_1", "mine", None, 3, "no")]
    assert values_of(rows) == {key(): 0.5}


def test_numbers_of_any_value() -> None:
    assert (numbers_of(None), numbers_of(0.5), numbers_of((1.0, 2.0))) == ((), (0.5,), (1.0, 2.0))


@pytest.mark.parametrize(
    ("found", "expected", "tolerance", "is_equal"),
    [
        (1.0, 1.0 + 9e-10, EXACT, True),
        (1.0, 1.0 + 2e-9, EXACT, False),
        (1e6, 1e6 + 9e-4, EXACT, True),
        (1e-12, 1e-12 + 1e-20, EXACT, True),  # of a size that rounding makes
        (1e-12, 2e-9, EXACT, False),
        (0.01, 0.0109, 1e-3, True),  # of fewer digits: relative, and absolute below 1
        (0.01, 0.0112, 1e-3, False),
        (100.0, 100.09, 1e-3, True),
        (100.0, 100.2, 1e-3, False),
        ((1.0, 1e-9), (1.0, 1.5e-9), EXACT, True),  # a vector by its largest number
        ((1.0, 2.0), (1.0, 2.0, 3.0), EXACT, False),
        (float("nan"), 1.0, EXACT, False),
    ],
)
def test_values_are_equal_to_a_tolerance(
    found: Value, expected: Value, tolerance: float, is_equal: bool
) -> None:
    if is_equal:
        assert_equal({key(): found}, {key(): expected}, tolerance, "the other")
        return
    with pytest.raises(AssertionError, match=r"mine at layer_0 reads .* for the other"):
        assert_equal({key(): found}, {key(): expected}, tolerance, "the other")


def test_a_value_that_only_one_side_has_is_told() -> None:
    with pytest.raises(AssertionError, match="missing than for the other: here mine at layer_1"):
        assert_equal({key(): 1}, {key(): 1, key("layer_1"): 1}, EXACT, "the other")
    with pytest.raises(AssertionError, match="for the other mine at layer_1"):
        assert_equal({key(): 1, key("layer_1"): 1}, {key(): 1}, EXACT, "the other")
