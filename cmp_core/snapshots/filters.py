"""How many bytes a stored chunk comes to, found out without believing it.

HDF5 does not compare what a filter puts out with the size of a chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import h5py

from cmp_core.errors import DataError

_SHUFFLE, _FLETCHER32 = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
_CHECKSUM = 4
"""Bytes of a Fletcher-32 checksum, which stands behind what it is of."""


def check_filters(dataset: h5py.h5d.DatasetID, place: str) -> None:
    """Raise where a chunk went through filters whose output cannot be measured beforehand.

    Raises:
        DataError: there is such a filter; the message names it.
    """
    filters = _filters(dataset)
    order = [number for number, _ in filters]
    packed = [index for index, number in enumerate(order) if number in _SIZES]
    if len(packed) > 1 or (packed and _SHUFFLE in order[packed[0] :]):
        raise DataError(
            f"{place}: expected data that are compressed once, after they were shuffled, got the "
            f"HDF5 filters {', '.join(map(str, order))}; {_REMEDY}"
        )
    for index, (number, name) in enumerate(filters):
        is_known = number in _SIZES or number in (_SHUFFLE, _FLETCHER32)
        if not is_known and _is_used(dataset, index):
            raise DataError(
                f"{place}: expected data without compression or with gzip or lzf, got the HDF5 "
                f"filter {f'{name!r} ({number})' if name else number}, whose output cannot be "
                f"checked before it is used; {_REMEDY}"
            )


def decoded_size(dataset: h5py.h5d.DatasetID, chunk: tuple[int, ...], expected: int) -> int:
    """Return the bytes that the filters make of a stored chunk, counted to some above `expected`.

    Args:
        dataset: one that `check_filters` has passed.
        chunk: where the chunk begins.
        expected: bytes of a whole chunk.

    Raises:
        DataError: the compressed data are damaged; the message is the reason.
    """
    info = dataset.get_chunk_info_by_coord(chunk)
    size = int(info.size)
    filters = _filters(dataset)
    for index in reversed(range(len(filters))):
        number, _ = filters[index]
        if info.filter_mask >> index & 1:
            continue
        if number == _FLETCHER32:
            size -= _CHECKSUM
        elif number in _SIZES:
            _, stored = dataset.read_direct_chunk(chunk)
            most = expected + _CHECKSUM * len(filters) + 1
            size = _SIZES[number](memoryview(stored)[: max(0, size)], most)
    return size


def _filters(dataset: h5py.h5d.DatasetID) -> list[tuple[int, str]]:
    """Return numbers and names of the filters, in the order in which they were applied."""
    properties = dataset.get_create_plist()
    found = (properties.get_filter(index) for index in range(properties.get_nfilters()))
    return [(number, name.decode(errors="replace")) for number, _, _, name in found]


def _is_used(dataset: h5py.h5d.DatasetID, index: int) -> bool:
    """Return whether any chunk went through a filter; each says which ones it has passed by."""

    def is_used(chunk: Any) -> bool | None:
        return True if not chunk.filter_mask >> index & 1 else None  # none goes on

    return bool(dataset.chunk_iter(is_used))


def _inflated_size(stored: memoryview, most: int) -> int:
    try:
        return len(zlib.decompressobj().decompress(stored, most))
    except zlib.error as error:
        raise DataError(f"zlib.error: {error}") from error


def _lzf_size(stored: memoryview, most: int) -> int:
    """Return the size of what LZF data say, instruction by instruction."""
    place, size, end = 0, 0, len(stored)
    while place < end and size < most:
        code = stored[place]
        if code < 32:  # that many bytes and one follow
            place += code + 2
            size += code + 1
        elif code < 224:  # what was there before, 3 to 8 bytes of it
            place += 2
            size += (code >> 5) + 2
        else:
            size += 9 + (stored[place + 1] if place + 1 < end else 0)
            place += 3
    if place > end:
        raise DataError("the LZF data are cut")
    return size


_SIZES: Mapping[int, Callable[[memoryview, int], int]] = {
    h5py.h5z.FILTER_DEFLATE: _inflated_size,
    h5py.h5z.FILTER_LZF: _lzf_size,
}
_REMEDY = "make a copy with gzip: `h5repack -f SHUF -f GZIP=1 OLD NEW`"
