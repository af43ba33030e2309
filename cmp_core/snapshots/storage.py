"""Where the numbers of a dataset are: in the file, in others, behind a filter; and reading them.

HDF5 reads zeros where other files that a dataset rests on are missing, and calls a filter that is
not installed a folder that it cannot open; so both are looked for before anything is read.
"""

from __future__ import annotations

import importlib
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
from numpy.typing import NDArray

from cmp_core.errors import DataError, one_line


@attrs.frozen(eq=False, repr=False)
class StoredArray:
    """An array in the file, of which `array[a:b]` reads rows and `array[:]` everything.

    Attributes:
        place: the file and the path inside it, for messages.
    """

    place: str
    _dataset: h5py.Dataset

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
            values: NDArray[Any] = self._dataset[rows]
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.place}: the data are damaged: {one_line(error)}") from error
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)


def check_storage(dataset: h5py.Dataset, place: str) -> None:
    """Raise where numbers of a dataset cannot be had, although the file itself is whole.

    Args:
        dataset: what is to be read.
        place: the file and the path inside it, for messages.

    Raises:
        DataError: another file that it rests on is missing, or does not hold what is expected of
            it, or a filter is not installed.
    """
    if dataset.is_virtual:
        _check_virtual(dataset, place)
    elif not dataset.external:
        _check_written(dataset, place)
    for name, offset, size in dataset.external or ():
        _check_external(Path(name), offset, size, place)
    needed = _missing_filters(dataset)
    if needed:
        with suppress(ImportError):
            importlib.import_module("hdf5plugin")  # which registers its filters
        needed = _missing_filters(dataset)
    for number, name in needed.items():
        known = f"'{name}' ({number})" if name else str(number)
        raise DataError(
            f"{place}: the data are compressed with the HDF5 filter {known}, which is not "
            "installed; try pip install hdf5plugin, which has many and is used where it is there"
        )


def _check_virtual(dataset: h5py.Dataset, place: str) -> None:
    union = h5py.h5s.create_simple(dataset.shape)
    union.select_none()
    for source in dataset.virtual_sources():
        _check_source(dataset, source, place)
        _select_also(union, source.vspace)
    mapped = int(union.get_select_npoints())
    if mapped < dataset.size:
        raise DataError(
            f"{place}: expected a virtual dataset whose sources hold all of its {dataset.size:,} "
            f"numbers, got sources of {mapped:,}"
        )


def _select_also(union: Any, mapping: Any) -> None:
    """Add what a source is mapped to; mappings may overlap."""
    try:
        mapping.get_select_npoints()
    except RuntimeError:  # it has no end: as many rows as the source has
        union.select_all()
        return
    if mapping.get_select_type() == h5py.h5s.SEL_ALL:
        union.select_all()
    elif union.get_select_type() == h5py.h5s.SEL_ALL:
        return
    elif mapping.is_regular_hyperslab():
        start, stride, count, block = mapping.get_regular_hyperslab()
        union.select_hyperslab(start, count, stride, block, op=h5py.h5s.SELECT_OR)
    else:
        for first, last in mapping.get_select_hyper_blocklist():
            block = tuple(int(b - a) + 1 for a, b in zip(first, last, strict=True))
            ones = (1,) * len(block)
            union.select_hyperslab(tuple(first), ones, None, block, op=h5py.h5s.SELECT_OR)


def _check_written(dataset: h5py.Dataset, place: str) -> None:
    """Raise where HDF5 would read zeros for what no program has written."""
    if not dataset.size:
        return
    if dataset.chunks:
        sizes = zip(dataset.shape, dataset.chunks, strict=True)
        expected, found = math.prod(-(-n // m) for n, m in sizes), dataset.id.get_num_chunks()
        missing = f"{found:,} of {expected:,} chunks" if found < expected else ""
    else:
        missing = "" if dataset.id.get_storage_size() else "nothing"
    if missing:
        raise DataError(
            f"{place}: expected {dataset.size:,} numbers, got {missing}: the others were never "
            "written; was the program that writes the file stopped?"
        )


def _check_source(dataset: h5py.Dataset, source: Any, place: str) -> None:
    """Check a source of a virtual dataset."""
    name, inside = source.file_name, source.dset_name
    if any("%b" in text.replace("%%", "") for text in (name, inside)):
        raise DataError(
            f"{place}: expected sources of the virtual dataset that are named one by one, "
            f"got the pattern '{name}': '{inside}'"
        )
    name, inside = name.replace("%%", "%"), inside.replace("%%", "%")
    path = _find(dataset.file, name, place)
    where = f"its source '{path}': {inside}"
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{place}: {where}: cannot be read: {one_line(error)}") from error
    with file:
        found = file.get(inside)
        if not isinstance(found, h5py.Dataset):
            raise DataError(f"{place}: {where}: expected a dataset, got nothing")
        check_storage(found, f"{place}: {where}")
        try:
            count = int(source.vspace.get_select_npoints())
        except RuntimeError:  # it has no end: as many rows as the source has
            return
        selected = source.src_space
        if selected.get_select_type() == h5py.h5s.SEL_ALL:
            expected, fits = f"{count:,} numbers", found.size == count
        else:
            _, last = selected.get_select_bounds()
            expected, fits = f"an index as large as {last}", _reaches(found.shape, last)
        if not fits:
            raise DataError(f"{place}: {where}: expected {expected}, got shape {found.shape}")


def _reaches(shape: tuple[int, ...], last: tuple[int, ...]) -> bool:
    return len(shape) == len(last) and all(a < n for a, n in zip(last, shape, strict=True))


def _find(file: h5py.File, name: str, place: str) -> Path:
    """Return the file of a virtual dataset's source, looked for where HDF5 does."""
    own, path = Path(file.filename), Path(name)
    if name == ".":
        return own
    inner = Path(path.name) if path.is_absolute() else path
    folders = dict.fromkeys((own.parent, own.resolve().parent, Path()))
    places = [path] if path.is_absolute() else []
    places += [folder / inner for folder in folders]
    for candidate in places:
        if candidate.is_file():
            return candidate
    tried = ", ".join(f"'{candidate}'" for candidate in dict.fromkeys(places))
    raise DataError(
        f"{place}: the virtual dataset rests on the file '{name}', which is missing; it was looked "
        f"for at {tried}"
    )


def _check_external(path: Path, offset: int, size: int, place: str) -> None:
    """Check a raw file, of which HDF5 reads what is missing at its end as zeros."""
    where = f"{place}: the data are in the file '{path}'"
    if not path.is_file():
        raise DataError(f"{where}, which is missing; it was looked for at '{path.absolute()}'")
    there = path.stat().st_size - offset
    if there < size:
        raise DataError(f"{where}: expected {size:,} bytes from byte {offset:,} on, got {there:,}")


def _missing_filters(dataset: h5py.Dataset) -> dict[int, str]:
    """Return number and name of the filters that a chunk went through and that are not here."""
    properties = dataset.id.get_create_plist()
    missing = {}
    for index in range(properties.get_nfilters()):
        number, _, _, name = properties.get_filter(index)
        if not h5py.h5z.filter_avail(number) and _is_used(dataset, index):
            missing[number] = name.decode(errors="replace")
    return missing


def _is_used(dataset: h5py.Dataset, index: int) -> bool:
    """Return whether any chunk went through a filter; each says which ones it has passed by."""
    chunks = range(dataset.id.get_num_chunks())
    return any(not dataset.id.get_chunk_info(i).filter_mask >> index & 1 for i in chunks)
