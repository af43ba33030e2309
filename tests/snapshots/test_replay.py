"""Tests of `cmp_core.snapshots.replay`: a file becomes the events of a run."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from cmp_core import open_snapshot
from cmp_core.events.activations import LayerActivations
from cmp_core.snapshots.replay import replay, replay_fitting
from tests.small_runs import stored
from tests.snapshots.test_read import by_hand

N = 20


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A snapshot of a convolutional layer, in big-endian numbers of 8 bytes."""
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1, phase="test", epoch=3, step=9)
        file["sample_ids"] = np.arange(N)[::-1] * 5
        file["labels"] = np.arange(N, dtype="u1") % 3
        file["inputs"] = np.arange(N * 4, dtype="f2").reshape(N, 1, 2, 2)
        layer = file.create_group("layers/conv")
        layer.attrs.update(depth=0, module="conv")
        layer["activations"] = np.arange(N * 6, dtype=">f8").reshape(N, 2, 3)
        layer["anchors"] = np.ones((3, 6), "f4")
    return path


def read(path: Path, pass_index: int = 1) -> list[LayerActivations]:
    with open_snapshot(path) as snapshot:
        return list(replay(snapshot, pass_index))


@pytest.mark.parametrize("chunk", [7, N, 1024])
def test_chunks_are_what_the_file_holds_flattened(
    images: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", chunk)
    events = read(images, pass_index=2)
    assert [event.n for event in events] == ([7, 7, 6] if chunk == 7 else [N])
    for event in events:
        assert (event.source, event.phase, event.part) == ("replay", "test", "chunk")
        assert (event.epoch, event.step, event.pass_index, event.num_classes) == (3, 9, 2, 3)
        assert event.layers[0].anchors is not None
        assert event.layers[0].anchors.shape == (3, 6)  # whole in every chunk
    ids = torch.cat([event.sample_ids for event in events])
    assert ids.tolist() == [5 * i for i in range(N)][::-1]
    labels = torch.cat([event.labels for event in events if event.labels is not None])
    assert labels.tolist() == [i % 3 for i in range(N)]
    activations = torch.cat([event.layers[0].activations for event in events])
    assert activations.equal(torch.arange(N * 6, dtype=torch.float64).reshape(N, 6))
    inputs = torch.cat([event.inputs for event in events if event.inputs is not None])
    assert inputs.equal(torch.arange(N * 4).reshape(N, 4).half())


def test_inputs_without_scores_of_their_own_are_the_reference(images: Path) -> None:
    (event,) = read(images)
    assert event.reference is not None
    assert (event.reference.name, event.reference.depth) == ("input", -1)
    assert event.reference.activations is event.inputs
    assert event.reference.scores is None
    with h5py.File(images, "a") as file:
        del file["inputs"]
    (event,) = read(images)
    assert event.reference is event.inputs is None


def test_the_reference_of_a_run_keeps_its_class_means(finished_run: Path) -> None:
    (event,) = read(stored(finished_run)[-1])
    assert event.reference is not None
    assert event.reference.anchor_kind == "class_mean"
    assert event.reference.anchors is not None
    assert event.labels is not None
    assert event.reference.scores is not None
    assert [layer.name for layer in event.layers] == ["layer_0", "layer_1"]
    assert [layer.anchor_kind for layer in event.layers] == ["orthonormal"] * 2


def test_without_labels_there_are_none(images: Path) -> None:
    with h5py.File(images, "a") as file:
        del file["labels"]
    (event,) = read(images)
    assert event.labels is None


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", ">i8"])
def test_whole_numbers_and_truth_values_are_measured_as_floats(tmp_path: Path, dtype: str) -> None:
    spikes = (np.arange(60).reshape(20, 3) % 2).astype(dtype)
    path = by_hand(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        file["inputs"] = spikes
        file["layers/spikes/activations"] = spikes
        file["layers/spikes"].attrs["depth"] = 2
    with open_snapshot(path) as snapshot:
        (chunk,) = replay(snapshot)
    assert chunk.inputs is not None
    for found in (chunk.inputs, chunk.layers[2].activations):
        assert found.dtype == torch.float64
        assert found.tolist() == spikes.astype(float).tolist()


@pytest.mark.parametrize("chunk", [7, N, 1024])
def test_samples_to_fit_to_come_by_themselves(
    images: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", chunk)
    mask = np.arange(N) % 3 == 0
    with h5py.File(images, "a") as file:
        file["fit"] = mask
    with open_snapshot(images) as snapshot:
        scored, fitting = list(replay(snapshot)), list(replay_fitting(snapshot))
    ids = 5 * np.arange(N)[::-1]
    for events, part, wanted in ((scored, "chunk", ids[~mask]), (fitting, "fit", ids[mask])):
        assert {event.part for event in events} == {part}
        assert torch.cat([event.sample_ids for event in events]).tolist() == wanted.tolist()
