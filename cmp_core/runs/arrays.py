"""The arrays of a run directory, checked for their form."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cmp_core.config.schema import shown
from cmp_core.errors import DataError, one_line
from cmp_core.runs.directory import check_regular

_MOST_BYTES = 2**32
"""Of all arrays of a file together; compressed, some megabytes come to as much."""


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an `.npz` file by name; empty where there is no file.

    Raises:
        DataError: it is damaged, or holds a single array.
    """
    content = _load(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise DataError(f"'{path}': expected arrays by name (.npz), got a single one")
    arrays = {}
    for name, array in content.items():
        if not isinstance(array, np.ndarray):  # NumPy hands out bytes of what is no `.npy` file
            raise DataError(f"'{path}': expected arrays by name (.npz), got bytes in {shown(name)}")
        if array.dtype.kind not in "biufU":
            what = f"{array.dtype} of shape {array.shape} in {shown(name)}"
            raise DataError(f"'{path}': expected numbers or texts, got {what}")
        arrays[name] = array
    return arrays


def load_counts(path: Path) -> NDArray[Any] | None:
    """Return the counts (C, C) of an `.npy` file, or none where there is no file.

    Raises:
        DataError: it is damaged, or holds something else.
    """
    if not path.exists():
        return None
    counts = _load(path)
    if isinstance(counts, dict):
        raise DataError(f"'{path}': expected one array (.npy), got {len(counts)} by name")
    is_square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] > 0
    if not is_square or counts.dtype.kind not in "iuf":
        found = f"{counts.dtype} of shape {counts.shape}"
        raise DataError(f"'{path}': expected counts (C, C), got {found}")
    return counts


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any] | bytes]:
    """Return the array of an `.npy` file, or the arrays of an `.npz` file by name."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            _check_size(file)
            content = np.load(file, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # NumPy and zipfile raise a different kind for every way to be so
        raise DataError(f"'{path}' cannot be read: {one_line(error)}") from error


def _check_size(file: BinaryIO) -> None:
    """Raise where the arrays in a zip file would not fit into the memory."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _MOST_BYTES:
            raise ValueError(f"expected arrays of at most {_MOST_BYTES:,} bytes, got {size:,}")
    file.seek(0)
