"""Tests of `cmp_core.snapshots.schedule`."""

from __future__ import annotations

import pytest

from cmp_core.snapshots.schedule import scheduled


@pytest.mark.parametrize(
    ("schedule", "epochs", "expected"),
    [
        ("log", 1, (0, 1)),
        ("log", 5, (0, 1, 2, 4, 5)),
        ("log", 8, (0, 1, 2, 4, 8)),
        ("all", 3, (0, 1, 2, 3)),
        ((-1,), 7, (7,)),
        ((3, 0, 3, -2), 5, (0, 3, 4)),
        ((1, 9), 5, (1,)),
        ((), 5, ()),
    ],
)
def test_schedules_have_known_epochs(
    schedule: str | tuple[int, ...], epochs: int, expected: tuple[int, ...]
) -> None:
    assert scheduled(schedule, epochs) == expected
