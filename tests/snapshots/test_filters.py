"""Tests of `cmp_core.snapshots.filters`: chunks that are not as long as they should be."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from cmp_core import open_snapshot
from cmp_core.errors import DataError
from tests.snapshots.test_read import by_hand

VALUES = np.random.default_rng(0).normal(size=(20, 5)) + 9
PLACE = "layers/block_0/activations"
DATA = VALUES.tobytes()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return by_hand(tmp_path / "mine.h5")


def chunked(path: Path, stored: bytes | None, mask: int = 0, **filters: Any) -> Path:
    """Write a snapshot whose first layer is one chunk; none of `stored`: an honest one."""
    with h5py.File(path, "a") as file:
        del file[PLACE]
        kept = file.create_dataset(PLACE, VALUES.shape, "f8", chunks=VALUES.shape, **filters)
        if stored is None:
            kept[:] = VALUES
        else:
            kept.id.write_direct_chunk((0, 0), stored, mask)
    return path


def literal(data: bytes) -> bytes:
    """LZF that repeats nothing."""
    runs = (data[i : i + 32] for i in range(0, len(data), 32))
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


FORMS: list[dict[str, Any]] = [
    {},
    {"shuffle": True},
    {"fletcher32": True},
    {"compression": "gzip"},
    {"compression": "lzf"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"compression": "lzf", "shuffle": True, "fletcher32": True},
]


@pytest.mark.parametrize("filters", FORMS)
def test_honest_chunks_are_read(mine: Path, filters: dict[str, Any]) -> None:
    with open_snapshot(chunked(mine, None, **filters)) as snapshot:
        assert not snapshot.verify()
        np.testing.assert_array_equal(snapshot.layers[0].activations[3:9], VALUES[3:9])


@pytest.mark.parametrize(
    ("filters", "stored", "got"),
    [
        ({}, DATA[:8], "8"),
        ({"shuffle": True}, DATA[:8], "8"),
        ({"fletcher32": True}, DATA[:2], "-2"),
        ({"fletcher32": True}, DATA, "796"),
        ({"compression": "gzip"}, zlib.compress(DATA[:8]), "8"),
        ({"compression": "gzip"}, zlib.compress(b""), "0"),
        ({"compression": "gzip"}, zlib.compress(DATA + b"more"), "more"),
        ({"compression": "gzip"}, zlib.compress(bytes(2**26)), "more"),
        ({"compression": "gzip"}, zlib.compress(DATA)[:-20], ""),
        ({"compression": "lzf"}, literal(DATA[:8]), "8"),
        ({"compression": "lzf"}, literal(DATA) + b"\x00a", "more"),
        ({"compression": "lzf"}, b"\x00a" + 9**4 * b"\xe0\xff\x00", "more"),
        ({"compression": "gzip", "fletcher32": True}, zlib.compress(DATA[:8]) + bytes(4), "8"),
        ({"compression": "lzf", "fletcher32": True}, literal(DATA[:8]) + bytes(4), "8"),
    ],
)
def test_a_chunk_of_another_length_is_told_before_it_is_read(
    mine: Path, filters: dict[str, Any], stored: bytes, got: str
) -> None:
    """HDF5 crashes, or hands out what is in the memory behind it."""
    chunked(mine, stored, **filters)
    with open_snapshot(mine) as snapshot:
        for read in (lambda: snapshot.layers[0].activations[2:4], snapshot.verify):
            with pytest.raises(DataError) as told:
                read()
            expected = f"expected 800 bytes in the chunk at (0, 0), got {got}"
            assert str(told.value).startswith(f"'{mine}': /{PLACE}: the data are damaged: ")
            assert str(told.value).endswith(expected) == bool(got)


def test_a_chunk_that_passed_its_filters_by_is_as_long_as_it_is(mine: Path) -> None:
    with open_snapshot(chunked(mine, DATA, 1, compression="gzip")) as snapshot:
        np.testing.assert_array_equal(snapshot.layers[0].activations[:], VALUES)


def test_a_chunk_that_passed_its_filters_by_may_be_short(mine: Path) -> None:
    chunked(mine, DATA[:8], 1, compression="gzip")
    with open_snapshot(mine) as snapshot, pytest.raises(DataError, match=r"got 8$"):
        snapshot.verify()


def test_no_more_than_what_is_asked_for_is_looked_at(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        del file[PLACE]
        kept = file.create_dataset(PLACE, (20, 5), "f8", chunks=(4, 3), compression="gzip")
        kept[:] = VALUES
        kept.id.write_direct_chunk((16, 3), zlib.compress(b"short"))
    with open_snapshot(mine) as snapshot:
        array = snapshot.layers[0].activations
        np.testing.assert_array_equal(array[3:16], VALUES[3:16])
        np.testing.assert_array_equal(array[3:16:5], VALUES[3:16:5])
        assert array[5:5].shape == (0, 5)
        for rows in (slice(16, 17), slice(0, 20, 8), 3, [1, 2], ..., (slice(None), 4)):
            with pytest.raises(
                DataError, match=r"expected 96 bytes in the chunk at \(16, 3\), got"
            ):
                array[rows]


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_lzf_is_as_long_as_what_h5py_makes_of_it(
    tmp_path_factory: pytest.TempPathFactory, seed: bytes, times: int, at: int
) -> None:
    """h5py stores a chunk as it is where LZF does not shrink it."""
    data = np.frombuffer((seed or b"a") * times + struct.pack("<I", at), "u1")
    path = by_hand(tmp_path_factory.mktemp("lzf") / "mine.h5")
    with h5py.File(path, "a") as file:
        file.create_dataset("more", data=data, chunks=data.shape, compression="lzf")
    with open_snapshot(path) as snapshot:
        assert not snapshot.verify()


# Filters of which the length is not known


def filtered(path: Path, number: int, *values: int, mask: int = 0) -> Path:
    """Write a snapshot whose first layer went through a filter.

    With mask 1 its only chunk says that it has passed the filter by.
    """
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(VALUES.shape)
    properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
    with h5py.File(path, "a") as file:
        del file[PLACE]
        space = h5py.h5s.create_simple(VALUES.shape)
        name = PLACE.encode()
        dataset = h5py.h5d.create(file.id, name, h5py.h5t.NATIVE_DOUBLE, space, properties)
        dataset.write_direct_chunk((0, 0), DATA, mask)
    return path


REMEDY = "make a copy with gzip: `h5repack -f SHUF -f GZIP=1 OLD NEW`"


@pytest.mark.parametrize(("number", "values"), [(32015, (3,)), (32001, ()), (4, (141, 32))])
def test_a_filter_of_unknown_length_is_named(
    mine: Path, number: int, values: tuple[int, ...]
) -> None:
    filtered(mine, number, *values)
    with pytest.raises(DataError) as told:
        open_snapshot(mine)
    assert str(told.value).startswith(
        f"'{mine}': /{PLACE}: expected data without compression or with gzip or lzf, got the HDF5 "
    )
    assert str(number) in str(told.value)
    assert str(told.value).endswith(REMEDY)


def test_scale_offset_is_told(mine: Path) -> None:
    chunked(mine, None, scaleoffset=3)
    with pytest.raises(DataError, match=r"got the HDF5 filter 'scaleoffset' \(6\), whose output"):
        open_snapshot(mine)


def test_chunks_that_passed_a_filter_by_need_none(mine: Path) -> None:
    with open_snapshot(filtered(mine, 32015, 3, mask=1)) as snapshot:
        assert not snapshot.verify()
        np.testing.assert_array_equal(snapshot.layers[0].activations[:], VALUES)


@pytest.mark.parametrize("order", [("gzip", "gzip"), ("gzip", "shuffle"), ("lzf", "gzip")])
def test_data_that_are_compressed_twice_are_refused(mine: Path, order: tuple[str, ...]) -> None:
    """Two filters shrink zeros a millionfold."""
    numbers = {"gzip": (1, (9,)), "shuffle": (2, ()), "lzf": (32000, ())}
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(VALUES.shape)
    for name in order:
        number, values = numbers[name]
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, values)
    with h5py.File(mine, "a") as file:
        space = h5py.h5s.create_simple(VALUES.shape)
        h5py.h5d.create(file.id, b"more", h5py.h5t.NATIVE_DOUBLE, space, properties)
        file["more"][:] = 0
    with pytest.raises(DataError, match="/more: expected data that are compressed once, after"):
        open_snapshot(mine)
