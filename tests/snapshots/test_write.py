"""Tests of `cmp_core.snapshots.write`: chunks, scales, pieces, and whole files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cmp_core import Layer, open_snapshot, run
from cmp_core.config.schema import Snapshots
from cmp_core.snapshots.write import RowWriter
from tests.small_runs import small, stored


def test_samples_are_in_checked_chunks_without_time_stamps(finished_run: Path) -> None:
    items: list[Any] = []
    with h5py.File(stored(finished_run)[0]) as file:
        file.visititems(lambda _, item: items.append(item))
        assert len(items) == 15
        for item in items:
            assert not item.id.get_create_plist().get_obj_track_times()
            assert h5py.h5g.get_objinfo(item.id).mtime == 0
            if isinstance(item, h5py.Dataset) and not item.name.endswith("anchors"):
                assert item.chunks == item.shape
                assert item.fletcher32


def test_dimensions_have_names_and_the_samples_a_scale(finished_run: Path) -> None:
    with h5py.File(stored(finished_run)[0]) as file:
        ids = file["sample_ids"]
        assert ids.is_scale
        names = {
            "labels": ["sample"],
            "sample_ids": ["sample"],
            "layers/layer_0/activations": ["sample", "unit"],
            "layers/layer_0/scores": ["sample", "class"],
            "layers/layer_0/anchors": ["class", "unit"],
        }
        for name, labels in names.items():
            assert [dim.label for dim in file[name].dims] == labels
            if labels[0] == "sample" and name != "sample_ids":
                assert file[name].dims[0][0] == ids


@pytest.mark.parametrize(
    ("compression", "filters"),
    [("gzip", ("gzip", 1, True)), ("lzf", ("lzf", None, True)), ("none", (None, None, False))],
)
def test_compression_changes_the_size_alone(
    tmp_path: Path, finished_run: Path, compression: str, filters: tuple[Any, ...]
) -> None:
    outcome = run(small(tmp_path, epochs=2, snapshots=Snapshots(compression=compression)))
    with (
        h5py.File(stored(outcome.directory)[0]) as file,
        h5py.File(stored(finished_run)[0]) as same,
    ):
        for name in ("inputs", "labels", "layers/layer_0/activations", "layers/layer_1/scores"):
            data = file[name]
            assert (data.compression, data.compression_opts, data.shuffle) == filters
            assert data.fletcher32
            np.testing.assert_array_equal(data[:], same[name][:])


def write(path: Path, pieces: tuple[int, ...], n: int, width: int = 6) -> None:
    """Write n samples of one layer in pieces."""
    g = torch.Generator().manual_seed(0)
    activations, scores = torch.randn(n, width, generator=g), torch.randn(n, 3, generator=g)
    anchors = torch.randn(3, width, generator=g)
    writer = RowWriter(path, path.parent / ".temporary.h5", n, "float32", "gzip")
    ids = torch.arange(n)
    for some in ids.split(pieces):
        layer = Layer("layer_0", 0, "0", activations[some], scores[some], anchors, "orthonormal")
        writer.append((layer,), some, some % 3, None)
    writer.finish({"phase": "val"})


@pytest.mark.parametrize("pieces", [(1, 9), (9, 1), (3, 3, 4), (10, 0), (0, 10), (4, 0, 0, 6)])
def test_pieces_of_any_size_give_the_same_file(tmp_path: Path, pieces: tuple[int, ...]) -> None:
    hashes = []
    for name, sizes in (("whole.h5", (10,)), ("pieces.h5", pieces)):
        write(tmp_path / name, sizes, 10)
        with open_snapshot(tmp_path / name) as snapshot:
            assert snapshot.verify()
        with h5py.File(tmp_path / name) as file:
            hashes.append(file.attrs["content_sha256"])
    assert hashes[0] == hashes[1]


def test_a_chunk_is_about_a_mebibyte(tmp_path: Path) -> None:
    for width, rows in ((2048, 128), (8, 300), (2**19, 1)):
        n = 300 if width < 2**19 else 2
        write(tmp_path / "x.h5", (n,), n, width)
        with h5py.File(tmp_path / "x.h5") as file:
            assert file["layers/layer_0/activations"].chunks == (rows, width)


def test_a_file_of_too_few_samples_is_not_put_in_place(tmp_path: Path) -> None:
    temporary = tmp_path / ".temporary.h5"
    writer = RowWriter(tmp_path / "x.h5", temporary, 5, "float32", "none")
    layer = Layer("layer_0", 0, "0", torch.ones(3, 2))
    writer.append((layer,), torch.arange(3), None, None)
    with pytest.raises(ValueError, match="expected 5 samples, got 3"):
        writer.finish({})
    writer.abort()
    assert not list(tmp_path.iterdir())
