"""Tests of `cmp_core.snapshots.storage`: data in other files, and behind filters."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core import open_snapshot
from cmp_core.errors import DataError
from tests.cli.calls import call
from tests.snapshots.test_read import by_hand

VALUES = np.random.default_rng(0).normal(size=(20, 5)) + 9
PLACE = "layers/block_0/activations"


def virtual(
    path: Path, source: str, shape: tuple[int, int] = (20, 5), rows: slice = slice(None)
) -> Path:
    """Write a snapshot whose first layer is a view of a dataset of another file."""
    layout = h5py.VirtualLayout((20, 5), "f8")
    layout[rows] = h5py.VirtualSource(source, "values", shape)[rows]
    with h5py.File(by_hand(path), "a") as file:
        del file[PLACE]
        file.create_virtual_dataset(PLACE, layout, fillvalue=0)
    return path


def write_source(path: Path, values: Any = VALUES, name: str = "values") -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = values
    return path


def assert_is_there(path: Path) -> None:
    with open_snapshot(path) as snapshot:
        snapshot.verify()
        np.testing.assert_array_equal(snapshot.layers[0].activations[:], VALUES)


def told(path: Path) -> str:
    """Return what is said of a file that must not be read."""
    with pytest.raises(DataError) as error:
        open_snapshot(path)
    assert str(error.value).startswith(f"'{path}': /{PLACE}: ")
    for command in ("recompute", "info"):
        result = call(command, path)
        assert (result.exit_code, result.stderr) == (2, f"error: {error.value}\n")
        assert "everything can be read" not in result.stdout
    return str(error.value)


@pytest.mark.parametrize("source", ["values.h5", "below/values.h5", "50%%.h5"])
def test_a_virtual_dataset_is_read_where_its_source_is(tmp_path: Path, source: str) -> None:
    write_source(tmp_path / source.replace("%%", "%"))
    assert_is_there(virtual(tmp_path / "x.h5", source))


def test_an_absolute_source_is_found_beside_a_file_that_moved_with_it(tmp_path: Path) -> None:
    path = virtual(tmp_path / "x.h5", str(write_source(tmp_path / "a" / "values.h5")))
    assert_is_there(path)
    shutil.move(tmp_path / "a" / "values.h5", tmp_path / "values.h5")
    assert_is_there(path)  # as HDF5 does


def test_a_source_in_the_file_itself_is_found(tmp_path: Path) -> None:
    path = virtual(tmp_path / "x.h5", ".")
    with h5py.File(path, "a") as file:
        file["values"] = VALUES
    assert_is_there(path)


@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_source_that_moved_is_told(tmp_path: Path, is_absolute: bool) -> None:
    source = write_source(tmp_path / "a" / "values.h5")
    path = virtual(tmp_path / "x.h5", str(source) if is_absolute else "a/values.h5")
    source.rename(tmp_path / "a" / "other.h5")
    message = told(path)
    assert "which is missing; it was looked for at '" in message
    assert f"'{source}'" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"name": "other"}, "values: expected a dataset, got nothing"),
        ({"values": VALUES[:10]}, "values: expected "),
        ({"values": VALUES[:, :4]}, "values: expected "),
    ],
)
@pytest.mark.parametrize("rows", [slice(None), slice(0, 20)])
def test_a_source_that_holds_something_else_is_told(
    tmp_path: Path, content: dict[str, Any], message: str, rows: slice
) -> None:
    path = virtual(tmp_path / "x.h5", "values.h5", rows=rows)
    write_source(tmp_path / "values.h5", **content)
    assert message in told(path)


def test_a_source_of_a_source_that_moved_is_told(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((20, 5), "f8")
    layout[:] = h5py.VirtualSource("gone.h5", "values", (20, 5))
    with h5py.File(tmp_path / "values.h5", "w") as file:
        file.create_virtual_dataset("values", layout)
    assert "rests on the file 'gone.h5'" in told(virtual(tmp_path / "x.h5", "values.h5"))


def test_a_source_that_is_no_hdf5_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "values.h5").write_text("no")
    assert "values: cannot be read: OSError" in told(virtual(tmp_path / "x.h5", "values.h5"))


def test_a_virtual_dataset_with_gaps_is_told(tmp_path: Path) -> None:
    write_source(tmp_path / "values.h5")
    path = virtual(tmp_path / "x.h5", "values.h5", rows=slice(0, 15))
    assert "hold all of its 100 numbers, got sources of 75" in told(path)


@pytest.mark.parametrize("rows", [(0, 10), (0, 20)])
def test_mappings_that_overlap_hide_no_gap(tmp_path: Path, rows: tuple[int, int]) -> None:
    write_source(tmp_path / "values.h5")
    layout = h5py.VirtualLayout((20, 5), "f8")
    source = h5py.VirtualSource("values.h5", "values", (20, 5))
    layout[:10] = source[:10]
    layout[slice(*rows)] = source[slice(*rows)]
    path = by_hand(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[PLACE]
        file.create_virtual_dataset(PLACE, layout)
    if rows == (0, 20):
        assert_is_there(path)
    else:
        assert "hold all of its 100 numbers, got sources of 50" in told(path)


def test_sources_that_are_named_by_a_pattern_are_told(tmp_path: Path) -> None:
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((20, 5), (endless, 5))
    space.select_hyperslab((0, 0), (endless, 1), (20, 5), (20, 5))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(space, b"part_%b.h5", b"values", h5py.h5s.create_simple((20, 5)))
    path = by_hand(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[PLACE]
        h5py.h5d.create(file.id, PLACE.encode(), h5py.h5t.NATIVE_DOUBLE, space, properties)
    assert "named one by one, got the pattern 'part_%b.h5': 'values'" in told(path)


def test_a_source_without_an_end_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    source = write_source(tmp_path / "values.h5")
    layout = h5py.VirtualLayout((20, 5), "f8", maxshape=(None, 5))
    rows = slice(None, h5py.h5s.UNLIMITED)
    layout[rows] = h5py.VirtualSource("values.h5", "values", (20, 5), maxshape=(None, 5))[rows]
    path = by_hand(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file[PLACE]
        file.create_virtual_dataset(PLACE, layout)
    assert_is_there(path)
    source.unlink()
    assert "rests on the file 'values.h5', which is missing" in told(path)


def external(folder: Path) -> Path:
    """Write a snapshot whose first layer is in a raw file."""
    path = by_hand(folder / "x.h5")
    with h5py.File(path, "a") as file:
        del file[PLACE]
        raw = [(str(folder / "raw.bin"), 8, VALUES.nbytes)]
        file.create_dataset(PLACE, VALUES.shape, "f8", external=raw)[:] = VALUES
    return path


def test_a_raw_file_is_read_where_it_is_whole(tmp_path: Path) -> None:
    path = external(tmp_path)
    assert_is_there(path)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(raw.read_bytes()[:-8])
    assert "raw.bin': expected 800 bytes from byte 8 on, got 792" in told(path)
    raw.unlink()
    assert f"'{raw}', which is missing; it was looked for at '{raw}'" in told(path)


FILTER = 32015


def filtered(path: Path, mask: int = 0) -> Path:
    """Write a snapshot whose first layer went through a filter that is not installed.

    With mask 1 its only chunk says that it has passed the filter by.
    """
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(VALUES.shape)
    properties.set_filter(FILTER, h5py.h5z.FLAG_OPTIONAL, (3,))
    with h5py.File(by_hand(path), "a") as file:
        del file[PLACE]
        space = h5py.h5s.create_simple(VALUES.shape)
        name = PLACE.encode()
        dataset = h5py.h5d.create(file.id, name, h5py.h5t.NATIVE_DOUBLE, space, properties)
        dataset.write_direct_chunk((0, 0), VALUES.tobytes(), mask)
    return path


def test_a_filter_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)  # as if it were not there
    message = told(filtered(tmp_path / "x.h5"))
    assert f"compressed with the HDF5 filter {FILTER}, which is not installed" in message
    assert "pip install hdf5plugin" in message


def test_chunks_that_passed_a_filter_by_need_none(tmp_path: Path) -> None:
    assert_is_there(filtered(tmp_path / "x.h5", mask=1))


def test_filters_of_hdf5plugin_are_used_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []

    def importing(name: str) -> None:
        imported.append(name)
        monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: True)

    monkeypatch.setattr(importlib, "import_module", importing)
    with open_snapshot(filtered(tmp_path / "x.h5")):
        assert imported == ["hdf5plugin"]


def test_a_filter_of_a_further_dataset_is_named_by_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    path = filtered(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file.move(PLACE, "further")
        file[PLACE] = VALUES
    with open_snapshot(path) as snapshot, pytest.raises(DataError, match=r"/further: .* filter"):
        snapshot.verify()
