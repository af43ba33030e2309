"""Tests of `cmp_core.measurement.snapshot`; `test_recompute` has those of the values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cmp_core.errors import UsageError
from cmp_core.measurement.snapshot import labels_of, measured
from tests.snapshots.test_read import by_hand


def test_labels_are_those_of_the_selection() -> None:
    assert labels_of([{"name": "margin", "label": "m"}, "accuracy"], (), None, [{}]) == [
        "m",
        "accuracy",
    ]
    with pytest.raises(UsageError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        labels_of(["acuracy"], (), None, [{}])


def test_what_is_not_yet_checked_is_read_within_limits(tmp_path: Path) -> None:
    sizes: list[int] = []

    @contextmanager
    def limits(size: int) -> Iterator[None]:
        sizes.append(size)
        yield
        sizes.append(-1)

    path = by_hand(tmp_path / "mine.h5")
    result = measured(path, ["participation_ratio"], (), None, {}, 1, None, limits)
    assert result.error is None
    assert sizes == [0, -1, 20 * 8 * (1 + 5 + 4), -1]  # labels and two layers


def test_threads_are_as_before_afterwards(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    assert measured(tmp_path / "none.h5", "all", (), None, {}, 1, before + 1).error is not None
    assert torch.get_num_threads() == before
