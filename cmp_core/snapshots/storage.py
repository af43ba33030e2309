"""Where the numbers of a dataset are, whether all of them are there, and reading them.

HDF5 follows links and storage into other files, reads zeros for what was never written, and
believes that a chunk holds as many bytes as it should: where a filter puts out fewer, it hands out
foreign memory or crashes. So all of this is looked at before anything is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import attrs
import h5py
import numpy as np
from numpy.typing import NDArray

from cmp_core.errors import DataError, one_line
from cmp_core.snapshots.attributes import shortened
from cmp_core.snapshots.filters import check_filters, decoded_size

MOST_BYTES = 2**30
"""Of a row, and of a chunk, which HDF5 has in memory as a whole."""

MOST_ATTRIBUTE_BYTES = 2**20
_MOST_LINKS = 100_000
_DEEPEST = 32
_REMEDY = "make a plain copy, as docs/snapshot-format.md shows"


@attrs.frozen(eq=False, repr=False)
class StoredArray:
    """An array in the file, of which `array[a:b]` reads rows and `array[:]` everything.

    Attributes:
        place: the file and the path inside it, for messages.
    """

    place: str
    _dataset: h5py.Dataset
    _whole: set[tuple[int, ...]] = attrs.field(factory=set)  # chunks

    def __repr__(self) -> str:
        _, _, path = self.place.rpartition("': ")
        return f"<StoredArray {path}: {self.form}>"

    @property
    def form(self) -> str:
        """Shape and type as text; that it is closed where the file is."""
        return f"{self.shape} {self.dtype}" if self._dataset else "closed"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape; the first dimension is that of the samples (of the classes for anchors)."""
        shape: tuple[int, ...] = self._dataset.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers as they are stored."""
        dtype: np.dtype[Any] = self._dataset.dtype
        return dtype

    @property
    def stored_bytes(self) -> int:
        """Bytes that it takes in the file."""
        return int(self._dataset.id.get_storage_size())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        try:
            check_chunks(self._dataset, self.place, self._whole, rows)
            values: NDArray[Any] = self._dataset[rows]
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.place}: the data are damaged: {one_line(error)}") from error
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def check_file(file: h5py.File, place: str) -> int:
    """Return how many bytes all data of a file are once they are read.

    No link to another file is followed, and no data are read.

    Args:
        file: just opened.
        place: the file, for messages.

    Raises:
        DataError: a link or a dataset leaves the file, or something in it is too large; the message
            names it.
    """
    size = int(file.id.get_filesize())
    stored: dict[int, int] = {}  # by address: several links may lead to one dataset
    whole: dict[int, int] = {}
    _check_attributes(file.id, f"{place}: /")
    for path in _hard_links(file.id, place):
        where = f"{place}: /{shortened(path)}"
        item = h5py.h5o.open(file.id, path)
        _check_attributes(item, where)
        if isinstance(item, h5py.h5d.DatasetID):
            _check_layout(item, where)
            address = h5py.h5o.get_info(item).addr
            stored[address] = _written(h5py.Dataset(item), where)
            whole[address] = int(h5py.Dataset(item).nbytes)
            check_filters(item, where)
    if (total := sum(stored.values())) > size:
        raise DataError(
            f"{place}: expected data that take no more than the file, {size:,} bytes, got "
            f"{total:,}: the same bytes are told to be several data"
        )
    return sum(whole.values())


def check_chunks(
    dataset: h5py.Dataset, place: str, whole: set[tuple[int, ...]], rows: Any = slice(None)
) -> None:
    """Raise where a chunk does not come to as many bytes as a chunk has.

    Args:
        dataset: what is to be read.
        place: the file and the path inside it, for messages.
        whole: chunks that were found whole before; further ones are added.
        rows: an index; where it is no slice all chunks are looked at.

    Raises:
        DataError: there is such a chunk.
    """
    if not dataset.chunks or not dataset.size:
        return
    expected = math.prod(dataset.chunks) * _itemsize(dataset.id)
    for chunk in _chunks(dataset.shape, dataset.chunks, rows):
        if chunk in whole:
            continue
        try:
            found = decoded_size(dataset.id, chunk, expected)
        except DataError as error:
            raise DataError(f"{place}: the data are damaged: {error}") from error
        if found != expected:
            got = "more" if found > expected else f"{found:,}"
            raise DataError(
                f"{place}: the data are damaged: expected {expected:,} bytes in the chunk at "
                f"{chunk}, got {got}"
            )
        whole.add(chunk)


def _chunks(
    shape: tuple[int, ...], chunks: tuple[int, ...], rows: Any
) -> Iterator[tuple[int, ...]]:
    """Yield where the chunks begin that hold some rows."""
    first, last = 0, shape[0] - 1
    if isinstance(rows, slice):
        wanted = range(*rows.indices(shape[0]))
        if not wanted or wanted.step < 0:  # HDF5 takes no steps back
            return
        first, last = wanted[0], wanted[-1]
    own = range(first // chunks[0] * chunks[0], last + 1, chunks[0])
    others = (range(0, n, size) for n, size in zip(shape[1:], chunks[1:], strict=True))
    yield from product(own, *others)


def _hard_links(root: h5py.h5f.FileID, place: str) -> list[bytes]:
    """Return the paths of all objects in a file, of each one path.

    Raises:
        DataError: a link leads out of the file, or there are too many, or too deep ones.
    """
    paths: list[bytes] = []
    left = 0

    def take(path: bytes, link: Any) -> str | None:
        nonlocal left
        left += 1
        if link.type not in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
            return (
                f"/{shortened(path)}: expected data in the file itself, got a link to another "
                f"file; {_REMEDY}"
            )
        if left > _MOST_LINKS:
            return f": expected at most {_MOST_LINKS:,} groups and datasets, got more"
        if path.count(b"/") >= _DEEPEST:
            return f": expected groups at most {_DEEPEST} deep, got '/{shortened(path)}'"
        if link.type == h5py.h5l.TYPE_HARD:
            paths.append(path)
        return None  # which goes on

    if problem := root.links.visit(take, info=True):
        raise DataError(f"{place}: {problem.removeprefix(': ')}")
    return paths


def _check_attributes(item: Any, where: str) -> None:
    for index in range(h5py.h5a.get_num_attrs(item)):
        attribute = h5py.h5a.open(item, index=index)
        size = attribute.get_space().get_simple_extent_npoints() * attribute.get_type().get_size()
        if size > MOST_ATTRIBUTE_BYTES:
            raise DataError(
                f"{where}: attribute {shortened(attribute.name)}: expected at most "
                f"{MOST_ATTRIBUTE_BYTES:,} bytes, got {size:,}"
            )


def _check_layout(dataset: h5py.h5d.DatasetID, where: str) -> None:
    """Raise where data are elsewhere, or a row or a chunk too large for the memory."""
    properties = dataset.get_create_plist()
    kind = "a virtual dataset" if properties.get_layout() == h5py.h5d.VIRTUAL else ""
    kind = kind or ("external storage" if properties.get_external_count() else "")
    if kind:
        raise DataError(f"{where}: expected data in the file itself, got {kind}; {_REMEDY}")
    shape, itemsize = dataset.shape, _itemsize(dataset)
    sizes = {"rows": math.prod((shape or ())[1:]) * itemsize}
    if properties.get_layout() == h5py.h5d.CHUNKED:
        sizes["chunks"] = math.prod(properties.get_chunk()) * itemsize
    for what, size in sizes.items():
        if size > MOST_BYTES:
            raise DataError(
                f"{where}: expected {what} of at most {MOST_BYTES:,} bytes, got {size:,} of type "
                f"{dataset.dtype} and shape {shape}"
            )


def _written(dataset: h5py.Dataset, place: str) -> int:
    """Return the bytes that a dataset takes; HDF5 would read zeros for what was never written."""
    if not dataset.size:
        return 0
    stored = int(dataset.id.get_storage_size())
    if dataset.chunks:
        sizes = zip(dataset.shape, dataset.chunks, strict=True)
        expected, found = math.prod(-(-n // m) for n, m in sizes), dataset.id.get_num_chunks()
        missing = f"{found:,} of {expected:,} chunks" if found < expected else ""
    else:
        expected = dataset.size * _itemsize(dataset.id)
        is_whole = stored == expected or dataset.dtype.hasobject
        missing = "" if is_whole else f"{stored:,} of {expected:,} bytes" if stored else "nothing"
    if missing:
        raise DataError(
            f"{place}: expected {dataset.size:,} numbers, got {missing}: the others were never "
            "written; was the program that writes the file stopped?"
        )
    return stored


def _itemsize(dataset: h5py.h5d.DatasetID) -> int:
    return int(dataset.get_type().get_size())
