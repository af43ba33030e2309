"""Comparing what a metric makes of one input with what it makes of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cmp_core.events.activations import LayerActivations
from cmp_core.events.rows import Row, Value
from cmp_core.measurement.measurer import Measurer
from cmp_core.measurement.metric import Metric
from cmp_core.testing.measure import measure_batch, measure_split

EXACT = 1e-9
"""Relative tolerance in float64 for values that must be equal but for rounding."""

Key = tuple[str, str, str | None, bool]


def both_ways(
    metric: Metric, event: LayerActivations, measurer: Measurer | None = None
) -> list[list[Row]]:
    """Return the rows of an event as a batch, and as a split in chunks of 7.

    Args:
        metric: what to measure.
        event: where.
        measurer: of the metric, where it is not the usual one.
    """
    ways = [measure_batch(metric, event, measurer)]
    if event.part == "chunk":
        ways.append(measure_split(metric, event, size=7, measurer=measurer))
    return ways


def values_of(rows: Sequence[Row]) -> dict[Key, Value]:
    """Return the rows that have a value."""
    return {
        (row.layer, row.metric, row.other, row.pair): row.value
        for row in rows
        if row.value is not None
    }


def numbers_of(value: Value | None) -> tuple[float, ...]:
    """Return a value, a number, a vector or none, as numbers."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def assert_equal(
    found: Mapping[Key, Value], expected: Mapping[Key, Value], tolerance: float, to_what: str
) -> None:
    """Raise where values are missing, or differ by more than a tolerance relative to their size."""
    for there, lacking, where in ((expected, found, "here"), (found, expected, f"for {to_what}")):
        lost = [f"{key[1]} at {key[0]}" for key in there if key not in lacking]
        assert not lost, f"other values are missing than for {to_what}: {where} {', '.join(lost)}"
    for key, value in expected.items():
        a, b = numbers_of(found[key]), numbers_of(value)
        size = max(map(abs, b), default=0.0)
        allowed = tolerance * max(size, tolerance if tolerance == EXACT else 1.0)
        is_near = len(a) == len(b) and all(abs(x - y) <= allowed for x, y in zip(a, b, strict=True))
        assert is_near, f"{key[1]} at {key[0]} reads {a} and, for {to_what}, {b}"
