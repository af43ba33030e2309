"""Reading a dataset through torchvision, with an error that says what to put where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images, RawData
from cmp_core.errors import DataError, one_line
from cmp_core.runs.directory import check_regular


def load_torchvision(
    config: Config,
    name: str,
    files: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augment: bool = False,
) -> RawData:
    """Return a torchvision dataset as uint8 tensors, downloaded on first use.

    Args:
        config: `data_dir` is torchvision's root.
        name: class in `torchvision.datasets`.
        files: what the dataset consists of, below `data_dir`, for the error message.
        mean: per channel, for pixels from 0 to 1.
        std: per channel, for pixels from 0 to 1.
        augment: shift and flip training images.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    from torchvision import datasets

    dataset = getattr(datasets, name)
    train = _read(dataset, name, config.data_dir, files, train=True)
    test = _read(dataset, name, config.data_dir, files, train=False)
    return RawData(
        train=_to_images(train),
        test=_to_images(test),
        class_names=tuple(train.classes),
        mean=tuple(255 * value for value in mean),
        std=tuple(255 * value for value in std),
        augment=augment,
    )


def _read(
    dataset: Callable[..., Any], name: str, root: str, files: tuple[str, ...], train: bool
) -> Any:
    is_new = not Path(root).exists()
    try:
        for file in (*files, *(f"{file}.gz" for file in files), getattr(dataset, "filename", "")):
            _check_file(Path(root) / file)
        try:
            return dataset(root=root, train=train, download=False)
        except RuntimeError:  # torchvision's word for "not there, or not whole"
            return dataset(root=root, train=train, download=True)
    except Exception as error:  # torchvision's readers and urllib raise a dozen kinds
        if is_new:
            _remove_empty(Path(root))
        listing = "\n".join(f"  {Path(root).absolute() / file}" for file in files)
        raise DataError(
            f"dataset {name} could not be read or downloaded "
            f"({one_line(error)})."
            f" Looked for\n{listing}\n"
            "Put these files there, delete damaged ones, or set data_dir to the folder that has "
            "them: --set data_dir=FOLDER"
        ) from error


_MOST_BYTES = 2**30
"""Of a file, of which torchvision computes a checksum before it is read; CIFAR's has 170 MB."""


def _check_file(path: Path) -> None:
    """Raise where reading a file would not come to an end."""
    check_regular(path)
    if path.is_file() and (size := path.stat().st_size) > _MOST_BYTES:
        raise DataError(f"'{path}': expected at most {_MOST_BYTES:,} bytes, got {size:,}")


def _remove_empty(folder: Path) -> None:
    """Remove what a failed download has made, as far as it holds no file."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _to_images(dataset: Any) -> Images:
    pixels = torch.as_tensor(dataset.data)
    # MNIST and its like come as (n, height, width), CIFAR as (n, height, width, channels).
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    return Images(pixels, np.asarray(dataset.targets))
