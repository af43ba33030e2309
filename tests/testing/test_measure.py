"""Tests of `cmp_core.testing.measure`."""

from __future__ import annotations

import pytest

from cmp_core import UndefinedError, metric
from cmp_core.testing import measure


@metric("both", scope="pair")
def both(first, second):  # type: ignore[no-untyped-def]
    """The sum and the difference of two means."""
    a, b = first.activations.mean(), second.activations.mean()
    return {"": a + b, "difference": a - b}


def test_known_values_are_measured_of_the_last_layer() -> None:
    assert measure(both, [[1.0]], [[2.0, 4.0]]) == {"both": 4.0, "both_difference": -2.0}
    with pytest.raises(UndefinedError, match="layer_0 is the first layer"):
        measure(both, [[1.0]])
