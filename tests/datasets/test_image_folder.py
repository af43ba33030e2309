"""Tests of folders of images."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Stream
from cmp_core.data.splits import TensorSplit
from cmp_core.datasets.image_folder import load_image_folder
from cmp_core.errors import DataError
from tests.data.samples import load
from tests.datasets.files import write_images


def test_a_folder_of_images(tmp_path: Path) -> None:
    write_images(tmp_path, {"cat": 6, "dog": 4})
    raw = load_image_folder(Config(data_dir=str(tmp_path), image_size=5))
    assert not isinstance(raw.train, Stream)
    assert raw.train.pixels.shape == (10, 3, 5, 5)
    assert raw.train.pixels[7, :, 0, 0].tolist() == [50, 1, 200]
    assert raw.class_names == ("cat", "dog")
    assert raw.test is None
    assert len(load(Config(), raw).test.ids) == 2


def test_a_folder_with_train_and_test(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"cat": 6, "dog": 4})
    write_images(tmp_path / "test", {"cat": 1, "dog": 2})
    raw = load_image_folder(Config(data_dir=str(tmp_path)))
    assert raw.test is not None
    assert raw.test.labels.tolist() == [0, 1, 1]
    write_images(tmp_path / "test", {"fish": 1})
    with pytest.raises(DataError, match="same classes in train and test"):
        load_image_folder(Config(data_dir=str(tmp_path)))


def test_images_that_do_not_fit_in_memory_are_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, {"cat": 6, "dog": 4})
    config = Config(data_dir=str(tmp_path), image_size=5)
    in_memory = load(config, load_image_folder(config))
    monkeypatch.setattr("cmp_core.datasets.image_folder.memory_budget", lambda device: 100)
    streamed = load(config, load_image_folder(config))
    assert "read from disk by 0 workers" in capsys.readouterr().out
    assert isinstance(in_memory.train, TensorSplit)
    assert not isinstance(streamed.train, TensorSplit)
    for a, b in zip(
        in_memory.train.batches(np.arange(5), 2),
        streamed.train.batches(np.arange(5), 2),
        strict=True,
    ):
        assert a.inputs.equal(b.inputs)
        assert a.labels.equal(b.labels)


@pytest.mark.parametrize("kind", ["missing", "no classes", "empty class", "not an image"])
def test_a_folder_that_is_not_of_images_is_told(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "images"
    if kind != "missing":
        root.mkdir()
    if kind in ("empty class", "not an image"):
        write_images(root, {"cat": 2})
        (root / "dog").mkdir()
    if kind == "not an image":
        (root / "dog" / "0.png").write_bytes(b"woof")
    with pytest.raises(DataError, match=r"image_folder|is not an image that can be read"):
        load_image_folder(Config(data_dir=str(root)))


def test_a_folder_of_images_can_be_sent_to_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path, {"cat": 3})
    monkeypatch.setattr("cmp_core.datasets.image_folder.memory_budget", lambda device: 0)
    raw = load_image_folder(Config(data_dir=str(tmp_path), image_size=5))
    assert isinstance(raw.train, Stream)
    copy = pickle.loads(pickle.dumps(raw.train.dataset))
    assert copy[0][0].equal(raw.train.dataset[0][0])


def test_train_and_val_folders_and_hidden_ones(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"cat": 6, "dog": 4, ".cache": 1})
    write_images(tmp_path / "val", {"cat": 1, "dog": 2})
    raw = load_image_folder(Config(data_dir=str(tmp_path)))
    assert raw.class_names == ("cat", "dog")
    assert raw.test is not None
    assert raw.test.labels.tolist() == [0, 1, 1]
