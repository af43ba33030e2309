"""The names in a snapshot file, and the hash of what it holds."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import h5py
import numpy as np

from cmp_core.snapshots.attributes import is_bounded
from cmp_core.snapshots.storage import MOST_BYTES

FORMAT = "cmp-activations"
VERSION = 1
CONTENT_HASH = "content_sha256"

LAYERS = "layers"
READ_BYTES = 2**22
"""About how much of a dataset is in memory at once while it is hashed."""

_HDF5_OWN = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
"""Attributes with which HDF5 itself links dimension scales; they hold addresses in the file."""


def content_hash(file: h5py.File) -> str:
    """Return the SHA-256 of all groups, datasets and attributes of an open file.

    It is that of one line of JSON per object, in the order of their paths: path, attributes
    {name: [type, value]}, and for a dataset its type, shape, and the SHA-256 of its values, row
    by row and little-endian. `content_sha256` itself and HDF5's own attributes are left out. Arrays
    of texts, lists and references count without their values, which may be terabytes in a file of
    some kilobytes.
    """
    objects: dict[str, Any] = {"/": file}
    file.visititems(lambda path, item: objects.__setitem__(f"/{path}", item))
    digest = hashlib.sha256()
    for path, item in sorted(objects.items()):
        line: list[Any] = [path, _attributes(item)]
        if isinstance(item, h5py.Dataset):
            line += [item.dtype.str, list(item.shape or ()), _digest(item)]
        digest.update((json.dumps(line, sort_keys=True, default=repr) + "\n").encode())
    return digest.hexdigest()


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, list[Any]]:
    names = [name for name in item.attrs if name not in (*_HDF5_OWN, CONTENT_HASH)]
    return {name: _attribute(item.attrs, name) for name in names}


def _attribute(attributes: h5py.AttributeManager, name: str) -> list[Any]:
    if not is_bounded(attributes.get_id(name)):
        return []
    value = attributes[name]
    return [type(value).__name__, np.asarray(value).tolist()]


def _digest(dataset: h5py.Dataset) -> str:
    digest = hashlib.sha256()
    if not dataset.shape:  # a single value, or none
        digest.update(repr(dataset[()] if is_bounded(dataset.id) else None).encode())
    elif not dataset.dtype.hasobject:
        rows = _block(dataset)
        for start in range(0, dataset.shape[0], rows):
            values = np.ascontiguousarray(dataset[start : start + rows])
            digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _block(dataset: h5py.Dataset) -> int:
    """Return how many rows to read at once: whole chunks, where these fit into the memory."""
    shape, itemsize = dataset.shape, dataset.dtype.itemsize
    rows = rows_of(shape, itemsize, READ_BYTES)
    if not dataset.chunks:
        return rows
    whole = -(-rows // dataset.chunks[0]) * dataset.chunks[0]
    return whole if whole <= rows_of(shape, itemsize, MOST_BYTES) else rows


def rows_of(shape: tuple[int, ...], itemsize: int, size: int) -> int:
    """Return how many rows of an array take about `size` bytes, at least one.

    >>> rows_of((2048, 256), 4, 2**20)
    1024
    """
    row = itemsize * int(np.prod(shape[1:], dtype=np.int64))
    return max(1, size // max(1, row))
