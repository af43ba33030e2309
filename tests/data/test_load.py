from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import TensorDataset

from cmp_core.config.schema import Config
from cmp_core.data import load as load_module
from cmp_core.data.augment import shift_and_flip
from cmp_core.data.load import Data, load_data
from cmp_core.data.raw import Images, RawData, Stream
from cmp_core.data.splits import TensorSplit
from cmp_core.datasets.cifar10 import load_cifar10
from cmp_core.datasets.cifar100 import load_cifar100
from cmp_core.datasets.digits import load_digits
from cmp_core.datasets.fashion_mnist import load_fashion_mnist
from cmp_core.datasets.image_folder import load_image_folder
from cmp_core.datasets.mnist import load_mnist
from cmp_core.errors import ConfigError, DataError

CPU = torch.device("cpu")
rng = np.random.default_rng(0)


def numbers(n: int = 100, classes: int = 4, channels: int = 1) -> RawData:
    """Images that say who they are: sample i is filled with i."""
    pixels = np.arange(n, dtype="uint8").reshape(n, 1, 1, 1) * np.ones(
        (1, channels, 3, 2), dtype="uint8"
    )
    names = tuple("abcdefgh"[:classes])
    return RawData(Images(pixels, np.arange(n) % classes), None, names)


def load(config: Config, raw: RawData) -> Data:
    return load_data(config, lambda: raw, CPU)


def test_splits_are_disjoint_and_cover_everything() -> None:
    data = load(Config(val_size=10), numbers())
    parts = [data.train.ids, data.val.ids, data.test.ids]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [len(part) for part in parts] == [70, 10, 20]
    assert data.input_size == 6


def test_the_split_follows_the_seed_and_the_test_does_not() -> None:
    first, again, other = (load(Config(seed=s), numbers()) for s in (0, 0, 1))
    assert np.array_equal(first.val.ids, again.val.ids)
    assert not np.array_equal(first.val.ids, other.val.ids)
    assert np.array_equal(first.test.ids, other.test.ids)


def test_samples_keep_their_ids_and_labels() -> None:
    data = load(Config(), numbers())
    for split in (data.train, data.val, data.test):
        order = rng.permutation(len(split.ids))
        batches = list(split.batches(order, 7))
        ids = torch.cat([batch.sample_ids for batch in batches])
        assert ids.tolist() == split.ids[order].tolist()
        for batch in batches:
            assert batch.inputs[:, 0, 0, 0].tolist() == batch.sample_ids.tolist()
            assert (batch.sample_ids % 4).tolist() == batch.labels.tolist()


def test_an_empty_order_gives_no_batches() -> None:
    data = load(Config(), numbers())
    assert list(data.train.batches(np.arange(0), 7)) == []


def test_the_measured_subset_and_the_class_means_use_different_samples() -> None:
    data = load(Config(val_size=20), numbers())
    assert len(data.measured) == 20
    assert len(data.reference) == 40  # all that is left, for lack of 50 per class
    assert not set(data.measured) & set(data.reference)
    assert set(data.train.labels[data.reference]) == {0, 1, 2, 3}


def test_normalisation_is_per_channel() -> None:
    raw = numbers(channels=2)
    raw = RawData(raw.train, None, raw.class_names, mean=(10.0, 20.0), std=(2.0, 4.0))
    batch = next(load(Config(), raw).val.batches(np.arange(3), 3))
    expected = (batch.sample_ids - 10) / 2, (batch.sample_ids - 20) / 4
    for channel in range(2):
        assert batch.inputs[:, channel, 0, 0].tolist() == pytest.approx(expected[channel].tolist())


def test_a_torch_dataset_of_a_plugin_gives_the_same_batches() -> None:
    raw = numbers()
    assert not isinstance(raw.train, Stream)
    dataset: Any = TensorDataset(raw.train.pixels, raw.train.labels)
    streamed = RawData(Stream(dataset, raw.train.labels), None, raw.class_names)
    order = np.array([5, 3, 60, 2, 1])
    for workers in (0, 2):
        data = load(Config(num_workers=workers), streamed)
        for a, b in zip(
            data.train.batches(order, 2),
            load(Config(), raw).train.batches(order, 2),
            strict=True,
        ):
            assert a.inputs.equal(b.inputs)
            assert a.labels.equal(b.labels)
            assert a.sample_ids.equal(b.sample_ids)


@pytest.mark.parametrize(("size", "count"), [(80, "80"), (99, "99")])
def test_a_validation_split_that_takes_everything_is_an_error(size: int, count: str) -> None:
    with pytest.raises(ConfigError, match=f"fewer than the 80 training samples, got {count}"):
        load(Config(val_size=size), numbers())


def test_labels_beyond_the_classes_are_an_error() -> None:
    raw = numbers(classes=4)
    raw = RawData(raw.train, None, ("a", "b"))
    with pytest.raises(DataError, match="labels from 0 to 1, got labels from 0 to 3"):
        load(Config(), raw)


def test_samples_and_labels_must_agree() -> None:
    with pytest.raises(DataError, match="got 3 samples and 2 labels"):
        Images(np.zeros((3, 1)), np.zeros(2, int))


def shift_slowly(image: Tensor, down: int, right: int, flip: bool) -> Tensor:
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    height, width = image.shape[1:]
    crop = padded[:, down : down + height, right : right + width]
    return crop.flip(2) if flip else crop


def test_augmentation_is_a_crop_and_a_flip_per_image() -> None:
    images = torch.randint(1, 255, (64, 3, 5, 6), dtype=torch.uint8)
    shifted = shift_and_flip(images, torch.Generator().manual_seed(0))
    assert shifted.dtype == images.dtype
    g = torch.Generator().manual_seed(0)
    shifts = torch.randint(0, 9, (2, 64), generator=g)
    flips = torch.randint(0, 2, (64, 1), generator=g)
    assert 0 < flips.float().mean() < 1
    for i in range(64):
        expected = shift_slowly(images[i], int(shifts[0, i]), int(shifts[1, i]), bool(flips[i]))
        assert shifted[i].equal(expected)


def test_only_training_images_are_augmented() -> None:
    raw = numbers()
    raw = RawData(raw.train, None, raw.class_names, augment=True)
    data = load(Config(), raw)
    g = torch.Generator().manual_seed(0)
    plain = torch.cat([b.inputs for b in data.train.batches(np.arange(70), 70)])
    moved = torch.cat([b.inputs for b in data.train.batches(np.arange(70), 70, g)])
    assert not plain.equal(moved)
    assert (plain == plain[:, :, :1, :1]).all()


# Readers


def test_digits() -> None:
    raw = load_digits(Config())
    assert not isinstance(raw.train, Stream)
    assert raw.train.pixels.shape == (1797, 1, 8, 8)
    assert raw.train.pixels.max() == 16
    pixels = raw.train.pixels.float()
    assert pixels.mean().item() == pytest.approx(raw.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(raw.std[0], abs=1e-3)


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype("uint8").tobytes())


@pytest.mark.parametrize(
    ("folder", "reader"), [("MNIST", load_mnist), ("FashionMNIST", load_fashion_mnist)]
)
def test_idx_files(tmp_path: Path, folder: str, reader: Any) -> None:
    raw_folder = tmp_path / folder / "raw"
    raw_folder.mkdir(parents=True)
    images = rng.integers(0, 256, (12, 28, 28))
    labels = np.arange(12) % 10
    for split, n in (("train", 8), ("t10k", 4)):
        write_idx(raw_folder / f"{split}-images-idx3-ubyte", images[:n])
        write_idx(raw_folder / f"{split}-labels-idx1-ubyte", labels[:n])
    raw = reader(Config(data_dir=str(tmp_path)))
    assert raw.train.pixels[:, 0].numpy().tolist() == images[:8].tolist()
    assert raw.test.labels.tolist() == labels[:4].tolist()
    assert len(raw.class_names) == 10


def test_the_original_mnist(mnist: Path) -> None:
    raw = load_mnist(Config(data_dir=str(mnist)))
    assert not isinstance(raw.train, Stream)
    assert isinstance(raw.test, type(raw.train))
    assert (len(raw.train.labels), len(raw.test.labels)) == (60_000, 10_000)
    pixels = raw.train.pixels.double()
    assert pixels.mean().item() == pytest.approx(raw.mean[0], rel=1e-3)
    assert pixels.std().item() == pytest.approx(raw.std[0], rel=1e-3)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int) -> None:
    from torchvision import datasets
    from torchvision.datasets.utils import calculate_md5

    kind = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
    key = {10: "labels", 100: "fine_labels"}[classes]
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    images = rng.integers(0, 256, (6, 3, 32, 32), dtype="uint8")
    names = [f"class {i}" for i in range(classes)]

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, calculate_md5(str(folder / name))]

    batch = {"data": images.reshape(6, -1), key: list(range(6))}
    trains = [write(name, batch) for name, _ in kind.train_list]
    tests = [write(name, batch) for name, _ in kind.test_list]
    meta = write(kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "train_list", trains)
    monkeypatch.setattr(kind, "test_list", tests)
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    reader = {10: load_cifar10, 100: load_cifar100}[classes]
    raw = reader(Config(data_dir=str(tmp_path)))
    assert not isinstance(raw.train, Stream)
    assert len(raw.train.labels) == 6 * len(trains)
    assert raw.train.pixels[:6].numpy().tolist() == images.tolist()
    assert raw.class_names == tuple(names)
    assert raw.augment


def test_missing_data_says_what_was_looked_for_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError) as caught:
        load_mnist(Config(data_dir=str(tmp_path / "nowhere")))
    message = str(caught.value)
    assert str(tmp_path / "nowhere" / "MNIST/raw/train-images-idx3-ubyte") in message
    assert "--set data_dir=FOLDER" in message


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{split}-{kind}-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x05ab")
    with pytest.raises(DataError, match="could not be read"):
        load_mnist(Config(data_dir=str(tmp_path)))


def write_images(root: Path, classes: dict[str, int]) -> None:
    for shade, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (9, 7), (50 * shade, i, 200)).save(root / name / f"{i}.png")


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


def test_the_memory_budget_is_a_quarter() -> None:
    budget = load_module.memory_budget(CPU)
    assert 2**20 < budget < 2**45


def test_class_means_have_samples_of_every_class_however_small_validation_is() -> None:
    data = load_data(Config(val_size=2), lambda: load_digits(Config()), CPU)
    assert np.bincount(data.train.labels[data.reference]).tolist() == [50] * 10


class Squares(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A dataset that knows nothing of cmp."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2, 3), float(index)), index % 4


def test_a_plugin_may_return_any_torch_dataset() -> None:
    data = load_data(Config(), Squares, CPU)
    assert data.class_names == ("0", "1", "2", "3")
    assert data.input_size == 6
    batch = next(data.test.batches(np.arange(3), 3))
    assert batch.inputs[:, 0, 0].tolist() == batch.sample_ids.tolist()
    assert (batch.sample_ids % 4).tolist() == batch.labels.tolist()


def test_what_is_no_dataset_is_told() -> None:
    with pytest.raises(DataError, match="expected RawData, or a torch Dataset with a length"):
        load_data(Config(), lambda: [1, 2], CPU)


def test_labels_of_the_test_split_are_checked_as_well() -> None:
    raw = numbers()
    bad = RawData(raw.train, Images(np.zeros((2, 1, 3, 2)), [0, 7]), raw.class_names)
    with pytest.raises(DataError, match="from 0 to 3, got labels from 0 to 7"):
        load(Config(), bad)


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(DataError, match=r"labels \(n,\) of whole numbers, got torch\.float64"):
        Images(np.zeros((2, 1)), np.zeros(2))


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
