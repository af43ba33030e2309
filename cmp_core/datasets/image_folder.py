"""A folder of images of one's own: one subfolder per class, the folder's name is the class's."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmp_core.config.schema import Config
from cmp_core.console import say, track
from cmp_core.data.load import memory_budget
from cmp_core.data.raw import Images, RawData, Samples, Stream
from cmp_core.errors import DataError, one_line
from cmp_core.events.hookspecs import Register, hookimpl


def load_image_folder(config: Config) -> RawData:
    """Return the images below `data_dir`, as RGB of `image_size` × `image_size` pixels.

    With a folder `train` in `data_dir`, the class folders lie in that one and in `test` (or `val`,
    which is then the test split); without it they lie in `data_dir` itself. Without a test split a
    fixed fifth of the images is set aside for testing. Hidden folders are passed over. Images that
    would take more than a quarter of the memory stay on disk and are read as needed.

    Raises:
        DataError: there is no such folder, it holds no classes, a class holds no images, an image
            cannot be read, or the classes of `train` and `test` differ.
    """
    root = Path(config.data_dir)
    has_splits = (root / "train").is_dir()
    tests = [root / name for name in ("test", "val") if has_splits and (root / name).is_dir()]
    train, classes = _read(root / "train" if has_splits else root, config)
    test, test_classes = _read(tests[0], config) if tests else (None, classes)
    if classes != test_classes:
        raise DataError(
            f"'{root}': expected the same classes in train and {tests[0].name}, "
            f"got {', '.join(classes)} and {', '.join(test_classes)}"
        )
    half = (127.5,) * 3
    return RawData(train, test, tuple(classes), mean=half, std=half)


def _read(folder: Path, config: Config) -> tuple[Samples, list[str]]:
    from torchvision import transforms

    from cmp_core.datasets._class_folders import ClassFolders

    side = config.image_size
    to_pixels = transforms.Compose([transforms.Resize((side, side)), transforms.PILToTensor()])
    try:
        dataset = ClassFolders(str(folder), transform=to_pixels)
    except FileNotFoundError as error:
        raise DataError(
            f"dataset image_folder: expected '{folder.absolute()}/<class>/<image>', with at least "
            f"one image for each class: {one_line(error)}"
        ) from error
    labels = torch.tensor(dataset.targets)
    stream = Stream(_Named(dataset), labels)
    needed, budget = len(dataset) * 3 * side * side, memory_budget(torch.device("cpu"))
    if needed > budget:
        say(
            f"{len(dataset):,} images of {side}×{side} pixels need {needed / 2**30:.1f} GiB, more "
            f"than a quarter of the memory: read from disk by {config.num_workers} workers"
        )
        return stream, dataset.classes
    loader = DataLoader(stream.dataset, batch_size=64, num_workers=config.num_workers)
    pixels = torch.empty(len(dataset), 3, side, side, dtype=torch.uint8)
    for start, (samples, _) in zip(count(0, 64), track(loader, f"Reading {folder}"), strict=False):
        pixels[start : start + 64] = samples
    return Images(pixels, labels), dataset.classes


class _Named(Dataset[tuple[Tensor, int]]):
    """An image folder whose errors name the file."""

    def __init__(self, images: Dataset[tuple[Tensor, int]]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            return self._images[index]
        except OSError as error:
            path = self._images.samples[index][0]  # type: ignore[attr-defined]
            raise DataError(f"'{path}' is not an image that can be read: {error}") from error


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_image_folder, name="image_folder")
