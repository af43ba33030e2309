"""Tests of `cmp_core.runs.arrays`; `test_record` has those of damaged files."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmp_core.errors import DataError
from cmp_core.runs.arrays import load_arrays, load_counts
from tests.small_runs import posix


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


@pytest.mark.parametrize("values", [np.zeros(3, "V8"), np.zeros(3, "i4,f4"), np.array([b"a"])])
def test_what_holds_neither_numbers_nor_texts_is_refused(tmp_path: Path, values: Any) -> None:
    np.savez(tmp_path / "x.npz", a=[1], b=values)
    with pytest.raises(DataError, match=r"expected numbers or texts, got .* of shape .* in 'b'$"):
        load_arrays(tmp_path / "x.npz")


@pytest.mark.parametrize("count", [10**9, 10**12, 10**18])
def test_an_array_that_is_told_to_be_larger_than_its_file_is_refused(
    tmp_path: Path, count: int
) -> None:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        text, {"descr": "<f8", "fortran_order": False, "shape": (count,)}
    )
    (tmp_path / "x.npy").write_bytes(text.getvalue() + bytes(80))
    with pytest.raises(DataError, match="cannot be read: "):
        load_counts(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", text.getvalue() + bytes(80))
    with pytest.raises(DataError, match="cannot be read: "):
        load_arrays(tmp_path / "x.npz")


def test_arrays_that_compress_to_almost_nothing_are_refused_by_their_size(tmp_path: Path) -> None:
    """The directory of a zip file tells sizes; these 9 GB are not unpacked."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10**6))
    data = (tmp_path / "x.npz").read_bytes()
    size, larger = (10**6).to_bytes(4, "little"), (2**32 - 2).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(data.replace(size, larger))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("b.npy", b"more")
    with pytest.raises(
        DataError, match=r"expected arrays of at most 4,294,967,296 bytes, got 4,29"
    ):
        load_arrays(tmp_path / "x.npz")


@posix
def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for load in (load_arrays, load_counts):
        with pytest.raises(
            DataError,
            match=rf"^'{tmp_path / 'fifo'}' cannot be read: OSError: .*expected a regular file",
        ):
            load(tmp_path / "fifo")


def test_what_is_no_array_in_an_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("notes.txt", "text")
    with pytest.raises(DataError, match=r"by name \(\.npz\), got bytes in 'notes\.txt'"):
        load_arrays(tmp_path / "x.npz")
