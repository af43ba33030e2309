"""Tests of `cmp_core.snapshots.attributes`: the forms in which programs write attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core.snapshots.attributes import as_text, as_whole_number


def stored(folder: Path, value: Any, dtype: Any = None) -> Any:
    """Return an attribute as it comes back from a file."""
    with h5py.File(folder / "x.h5", "w") as file:
        file.attrs.create("it", value, dtype=dtype)
        return file.attrs["it"]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ("größe", None),
        ("größe".encode(), h5py.string_dtype(length=16)),
        (["größe"], None),
        ([["größe"]], h5py.string_dtype()),
        (np.bytes_("größe".encode()), None),
        (np.array(["größe".encode()]), None),
    ],
)
def test_a_text_of_any_form_is_one(tmp_path: Path, value: Any, dtype: Any) -> None:
    found = as_text(stored(tmp_path, value, dtype))
    assert type(found) is str
    assert found == "größe"


@pytest.mark.parametrize("value", [3, ["a", "b"], h5py.Empty("S1"), [], b"\xff", True])
def test_what_is_no_text_is_none(tmp_path: Path, value: Any) -> None:
    assert as_text(stored(tmp_path, value)) is None


@pytest.mark.parametrize(
    "value", [3, 3.0, [3], [3.0], [[3]], np.uint8(3), np.float16(3), np.array(3), np.int64(3)]
)
def test_a_whole_number_of_any_form_is_one(tmp_path: Path, value: Any) -> None:
    found = as_whole_number(stored(tmp_path, value))
    assert type(found) is int
    assert found == 3


@pytest.mark.parametrize(
    "value",
    ["3", 0.5, [1, 2], np.nan, np.inf, 1e300, True, 3j, h5py.Empty("i4"), np.zeros(0)],
)
def test_what_is_no_whole_number_is_none(tmp_path: Path, value: Any) -> None:
    assert as_whole_number(stored(tmp_path, value)) is None
