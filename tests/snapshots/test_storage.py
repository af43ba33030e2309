"""Tests of `cmp_core.snapshots.storage`: data outside the file, and sizes that cannot be believed.

Each refusal is heard by the library, `cmp recompute` and `cmp info` alike.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core import open_snapshot
from cmp_core.errors import DataError
from tests.small_runs import posix
from tests.snapshots.test_read import by_hand

VALUES = np.random.default_rng(0).normal(size=(20, 5)) + 9
PLACE = "layers/block_0/activations"


def told(path: Path) -> str:
    """Return what is said of a file that must not be read."""
    with pytest.raises(DataError) as error:
        open_snapshot(path)
    assert str(error.value).startswith(f"'{path}'")
    assert len(str(error.value)) < 1000
    return str(error.value)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return by_hand(tmp_path / "mine.h5")


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A file that nobody writes into: to open it hangs."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


# Other files


def external_link(file: h5py.File, other: Path) -> None:
    del file[PLACE]
    file[PLACE] = h5py.ExternalLink(str(other), "/values")


def external_group(file: h5py.File, other: Path) -> None:
    file["layers/a"] = h5py.ExternalLink(str(other), "/values")


def soft_link_through_an_external_one(file: h5py.File, other: Path) -> None:
    del file[PLACE]
    file["away"] = h5py.ExternalLink(str(other), "/")
    file[PLACE] = h5py.SoftLink("/away/values")


def link_of_no_layer(file: h5py.File, other: Path) -> None:
    file["notes/more"] = h5py.ExternalLink(str(other), "/values")


def external_storage(file: h5py.File, other: Path) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, (20, 5), "f8", external=[(str(other), 8, 800)])


def virtual_dataset(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((20, 5), "f8")
    layout[:] = h5py.VirtualSource(str(other), "values", (20, 5))
    del file[PLACE]
    file.create_virtual_dataset(PLACE, layout)


def virtual_dataset_without_an_end(file: h5py.File, other: Path) -> None:
    endless = h5py.h5s.UNLIMITED
    space = h5py.h5s.create_simple((20, 5), (endless, 5))
    space.select_hyperslab((0, 0), (endless, 1), (20, 5), (20, 5))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    source = h5py.h5s.create_simple((20, 5))
    properties.set_virtual(space, f"{other}%b".encode(), b"values", source)
    del file[PLACE]
    h5py.h5d.create(file.id, PLACE.encode(), h5py.h5t.NATIVE_DOUBLE, space, properties)


def virtual_dataset_of_itself(file: h5py.File, _: Path) -> None:
    layout = h5py.VirtualLayout((20, 5), "f8")
    layout[:] = h5py.VirtualSource(".", PLACE, (20, 5))
    del file[PLACE]
    file.create_virtual_dataset(PLACE, layout)


@posix
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (external_link, f"/{PLACE}: expected data in the file itself, got a link to another file"),
        (external_group, "/layers/a: expected data in the file itself, got a link to another"),
        (soft_link_through_an_external_one, "/away: expected data in the file itself, got a link"),
        (link_of_no_layer, "/notes/more: expected data in the file itself, got a link to another"),
        (external_storage, f"/{PLACE}: expected data in the file itself, got external storage"),
        (virtual_dataset, f"/{PLACE}: expected data in the file itself, got a virtual dataset"),
        (virtual_dataset_without_an_end, "got a virtual dataset"),
        (virtual_dataset_of_itself, "got a virtual dataset"),
    ],
)
def test_no_data_of_another_file_are_read(
    mine: Path, fifo: Path, change: Callable[[h5py.File, Path], None], found: str
) -> None:
    """To look for the other file would hang."""
    with h5py.File(mine, "a") as file:
        change(file, fifo)
    assert found in (message := told(mine))
    assert message.endswith("; make a plain copy, as docs/snapshot-format.md shows")


def test_links_inside_the_file_are_followed(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file["values"] = VALUES
        del file[PLACE]
        file[PLACE] = h5py.SoftLink("/values")
        file["inputs"] = file["values"]
        file["around"] = file["layers"]
        file["layers/block_1/up"] = file["/"]
        file["layers/block_1/gone"] = h5py.SoftLink("/nowhere")
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()
        assert snapshot.inputs is not None
        np.testing.assert_array_equal(snapshot.layers[0].activations[:], VALUES)
        np.testing.assert_array_equal(snapshot.inputs[:], VALUES)


def test_references_lead_nowhere(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        file.create_virtual_dataset("hidden", h5py.VirtualLayout((20, 5), "f8"))
        reference = file["hidden"].ref
        file["labels"].attrs["where"] = reference
        file["references"] = np.array([reference], h5py.ref_dtype)
        del file["hidden"]
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()


@posix
@pytest.mark.parametrize("kind", ["FIFO", "link", "socket", "device"])
def test_what_is_no_file_is_told_and_not_opened(
    tmp_path: Path, fifo: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = {"FIFO": fifo, "device": Path(os.devnull)}.get(kind, Path("other.h5"))
    if kind == "link":
        path.symlink_to(fifo)
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
    assert told(path) == f"'{path}' is a FIFO, a socket or a device, not a file"


def test_a_path_that_cannot_be_one_is_told() -> None:
    assert "cannot be read: " in told(Path("a" * 300))
    assert "cannot be read: " in told(Path("a\0b"))


# Sizes


def too_many_samples(file: h5py.File) -> None:
    file.create_dataset("sample_ids", (20_000_001,), "i1", chunks=(2**20,), compression="gzip")
    file["sample_ids"][:] = 0


def wide_rows(file: h5py.File) -> None:
    file.create_dataset("inputs", (20, 2**28 + 1), "f4", chunks=(1, 2**20))


def large_chunks(file: h5py.File) -> None:
    file.create_dataset("more", (2**29,), "f8", chunks=(2**27 + 1,))


def large_attribute(file: h5py.File) -> None:
    file.create_group("more").attrs["note"] = np.zeros(2**17 + 1)


def many_texts(file: h5py.File) -> None:
    file.create_group("more").attrs["note"] = np.full(2**17 + 1, "x", "O")


def many_links(file: h5py.File) -> None:
    for index in range(100):
        file[f"more/{index}"] = h5py.SoftLink("/labels")


def deep_groups(file: h5py.File) -> None:
    file.create_group("/".join("a" * 40))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (too_many_samples, "/sample_ids: expected at most 20,000,000 samples, got 20,000,001"),
        (wide_rows, "/inputs: expected rows of at most 1,073,741,824 bytes, got 1,073,741,828"),
        (large_chunks, "/more: expected chunks of at most 1,073,741,824 bytes, got 1,073,741,832"),
        (large_attribute, "/more: attribute note: expected at most 1,048,576 bytes, got 1,048,5"),
        (many_texts, "/more: attribute note: expected at most 1,048,576 bytes, got 1,048,584"),
        (many_links, "expected at most 50 groups and datasets, got more"),
        (deep_groups, "expected groups at most 32 deep, got '/a/a/a"),
    ],
)
def test_what_does_not_fit_into_the_memory_is_refused(
    mine: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[h5py.File], None], found: str
) -> None:
    monkeypatch.setattr("cmp_core.snapshots.storage._MOST_LINKS", 50)
    with h5py.File(mine, "a", libver="latest") as file:
        change(file)
    assert found in told(mine)


@posix
def test_a_text_that_is_told_to_be_there_many_times_is_not_read(mine: Path) -> None:
    """Read, 4 MB are 8 GB."""
    import resource  # which Windows lacks

    with h5py.File(mine, "a") as file:
        texts = file.create_dataset("texts", (2000,), h5py.string_dtype())
        texts[0] = "x" * 4 * 2**20
        place = texts.id.get_offset()
    data = bytearray(mine.read_bytes())
    data[place : place + 16 * 2000] = 2000 * data[place : place + 16]
    mine.write_bytes(data)
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20  # kB


def test_bytes_that_count_several_times_are_told(mine: Path) -> None:
    with h5py.File(mine, "a") as file:
        for index in range(3):
            file[f"more_{index}"] = np.ones((20, 100)) + index
        first, *others = (file[f"more_{index}"].id.get_offset() for index in range(3))
    for place in others:
        move(mine, (place, 16_000), (first, 16_000))
    whole = mine.stat().st_size
    move(mine, (whole,), (others[0],))  # where the file ends, says its superblock
    mine.write_bytes(mine.read_bytes()[: others[0]])
    assert "that take no more than the file, " in told(mine)
    assert "the same bytes are told to be several data" in told(mine)


def move(path: Path, old: tuple[int, ...], new: tuple[int, ...]) -> None:
    """Replace numbers of 8 bytes that are in a file once."""
    data, form = path.read_bytes(), f"<{len(old)}Q"
    assert data.count(struct.pack(form, *old)) == 1
    path.write_bytes(data.replace(struct.pack(form, *old), struct.pack(form, *new)))


@pytest.mark.parametrize("name", ["labels", "sample_ids", "inputs", "fit", PLACE])
@pytest.mark.parametrize(
    "dtype", ["i4,f4", "S8", "V8", h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype]
)
def test_what_holds_no_numbers_is_told(mine: Path, name: str, dtype: Any) -> None:
    with h5py.File(mine, "a") as file:
        file.pop(name, None)
        file.create_dataset(name, (20, 5) if name in ("inputs", PLACE) else (20,), dtype)
    assert f"/{name}: expected " in told(mine)


def test_zeros_that_gzip_shrinks_a_thousandfold_are_read(mine: Path) -> None:
    """Dead units; gzip goes no further."""
    with h5py.File(mine, "a") as file:
        del file[PLACE]
        kept = file.create_dataset(PLACE, (20, 2**18), "f4", chunks=(20, 2**18), compression=9)
        kept[:] = 0
        assert kept.id.get_storage_size() < kept.nbytes / 1000
    with open_snapshot(mine) as snapshot:
        assert not snapshot.verify()
        assert not snapshot.layers[0].activations[:].any()
