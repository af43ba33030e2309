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
from tests.data.samples import load, read_all
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


def test_without_a_test_folder_val_is_the_test_split_and_the_screen_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "train", {"cat": 6, "dog": 4, ".cache": 1})
    write_images(tmp_path / "val", {"cat": 1, "dog": 2})
    raw = load_image_folder(Config(data_dir=str(tmp_path)))
    assert raw.class_names == ("cat", "dog")
    assert raw.val is None
    assert raw.test is not None
    assert raw.test.labels.tolist() == [0, 1, 1]
    said = capsys.readouterr().out
    assert f"10 images of 2 classes for training in '{tmp_path / 'train'}'" in said
    assert f"3 images of 2 classes for testing in '{tmp_path / 'val'}'" in said


def test_beside_a_test_folder_val_is_the_validation_split(tmp_path: Path) -> None:
    write_images(tmp_path / "Train", {"cat": 6, "dog": 4})
    write_images(tmp_path / "validation", {"cat": 1, "dog": 2})
    write_images(tmp_path / "testing", {"cat": 3, "dog": 2})
    config = Config(data_dir=str(tmp_path), image_size=4)
    data = load(config, load_image_folder(config))
    assert [len(split.ids) for split in (data.train, data.val, data.test)] == [10, 3, 5]
    assert data.val.labels.tolist() == [0, 1, 1]
    write_images(tmp_path / "validation", {"fish": 1})
    with pytest.raises(DataError, match="same classes in Train and validation"):
        load_image_folder(config)


def test_what_is_skipped_is_counted_on_the_screen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path, {"cat": 1, "dog": 2})
    for i in range(29):
        (tmp_path / "cat" / f"{i:02}.jfif").touch()
    load_image_folder(Config(data_dir=str(tmp_path)))
    captured = capsys.readouterr()
    assert "3 images of 2 classes" in captured.out
    assert f"'{tmp_path}': skipped 29 .jfif (cat/00.jfif, …)" in captured.err


def test_a_folder_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    write_images(tmp_path, {"cat": 1})
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=f"'{tmp_path}' cannot be read: PermissionError"):
        load_image_folder(Config(data_dir=str(tmp_path)))


@pytest.mark.parametrize("budget", [0, 10**9])
def test_an_unreadable_image_in_a_worker_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    write_images(tmp_path, {"cat": 3, "dog": 3})
    bad = tmp_path / "dog" / "1.png"
    bad.write_bytes(b"woof")
    monkeypatch.setattr("cmp_core.datasets.image_folder.memory_budget", lambda device: budget)
    config = Config(data_dir=str(tmp_path), num_workers=1)
    with pytest.raises(DataError) as caught:
        read_all(load(config, load_image_folder(config)))
    assert str(caught.value).startswith(f"'{bad}' is not an image that can be read: ")
    assert "\n" not in str(caught.value)
