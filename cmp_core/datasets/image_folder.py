"""A folder of images of one's own: one subfolder per class, the folder's name is the class's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cmp_core.config.schema import Config
from cmp_core.console import say, track, warn
from cmp_core.data.load import memory_budget
from cmp_core.data.raw import Images, RawData, Samples, Stream
from cmp_core.data.reader import Reader
from cmp_core.datasets._class_folders import ClassFolders, find_class_folders
from cmp_core.datasets._image_file import read_image
from cmp_core.datasets._split_folders import find_split_folders
from cmp_core.errors import DataError, one_line
from cmp_core.events.hookspecs import Register, hookimpl
from cmp_core.text import counted

_BATCH = 64
_PURPOSES = {"train": "training", "val": "validation", "test": "testing"}


def load_image_folder(config: Config) -> RawData:
    """Return the images below `data_dir`, as RGB of `image_size` × `image_size` pixels.

    With a folder `train` in `data_dir`, the class folders lie in that one, in `test` and in `val`;
    without it they lie in `data_dir` itself. Without `test`, `val` is the test split; without both
    a fixed fifth of the images is set aside for testing. Hidden files and folders are passed over,
    other files that are no images are skipped with a warning. Images that would take more than a
    quarter of the memory stay on disk and are read as needed.

    Raises:
        DataError: there is no such folder, it holds no classes, a class holds no images, an image
            cannot be read or is not of 8 opaque bits, or the classes of the splits differ.
    """
    try:
        folders, found = _find(Path(config.data_dir))
    except OSError as error:
        raise DataError(
            f"dataset image_folder: '{error.filename}' cannot be read: {one_line(error)}"
        ) from error
    for split, images in found.items():
        say(
            f"{counted(len(images.paths), 'image')} of "
            f"{counted(len(images.classes), 'class')} for {_PURPOSES[split]} in '{folders[split]}'"
        )
        if images.skipped:
            warn(f"'{folders[split]}': skipped {images.skipped}")
    splits = {split: _load(images, folders[split], config) for split, images in found.items()}
    half = (127.5,) * 3
    return RawData(
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        class_names=found["train"].classes,
        mean=half,
        std=half,
    )


def _find(root: Path) -> tuple[dict[str, Path], dict[str, ClassFolders]]:
    """Return the folder of each split, and what is in it."""
    folders = find_split_folders(root) or {"train": root}
    if "test" not in folders and "val" in folders:
        folders["test"] = folders.pop("val")
    found = {split: find_class_folders(folder) for split, folder in folders.items()}
    classes = found["train"].classes
    for split, images in found.items():
        if images.classes != classes:
            raise DataError(
                f"'{root}': expected the same classes in {folders['train'].name} and "
                f"{folders[split].name}, got {', '.join(classes)} and {', '.join(images.classes)}"
            )
    return folders, found


def _load(images: ClassFolders, folder: Path, config: Config) -> Samples:
    side, n = config.image_size, len(images.paths)
    labels = torch.tensor(images.labels)
    dataset = _ImageFiles(images, side)
    needed, budget = n * 3 * side * side, memory_budget(torch.device("cpu"))
    if needed > budget:
        say(
            f"{n:,} images of {side}×{side} pixels need {needed / 2**30:.1f} GiB, more "
            f"than a quarter of the memory: read from disk by {config.num_workers} workers"
        )
        return Stream(dataset, labels)
    batches = Reader(dataset, folder.name, config.num_workers).batches(np.arange(n), _BATCH)
    total = -(-n // _BATCH)
    pixels = torch.empty(n, 3, side, side, dtype=torch.uint8)
    for index, samples in enumerate(track(batches, f"Reading {folder}", total)):
        pixels[index * _BATCH : (index + 1) * _BATCH] = samples
    return Images(pixels, labels)


class _ImageFiles(Dataset[tuple[Tensor, int]]):
    """Images that are read when they are asked for."""

    def __init__(self, images: ClassFolders, side: int) -> None:
        self._images = images
        self._side = side

    def __len__(self) -> int:
        return len(self._images.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return read_image(self._images.paths[index], self._side), self._images.labels[index]


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_image_folder, name="image_folder")
