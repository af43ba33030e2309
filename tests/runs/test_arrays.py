"""Tests of `cmp_core.runs.arrays`; `test_record` has those of damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmp_core.errors import DataError
from cmp_core.runs.arrays import load_arrays, load_counts


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", a=[1, 2], b=[0.5])
    np.save(tmp_path / "counts.npy", [[3, 0], [1, 2]])
    found = load_arrays(tmp_path / "named.npz")
    assert {name: own.tolist() for name, own in found.items()} == {"a": [1, 2], "b": [0.5]}
    counts = load_counts(tmp_path / "counts.npy")
    assert counts is not None
    assert counts.tolist() == [[3, 0], [1, 2]]


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert load_arrays(tmp_path / "none.npz") == {}
    assert load_counts(tmp_path / "none.npy") is None


def test_a_file_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "named.npz", a=[1, 2])
    np.save(tmp_path / "single.npy", [[1]])
    with pytest.raises(DataError, match="expected arrays by name"):
        load_arrays(tmp_path / "single.npy")
    with pytest.raises(DataError, match=r"expected one array \(.npy\), got 1 by name"):
        load_counts(tmp_path / "named.npz")
