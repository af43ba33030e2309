"""Files in the formats of MNIST and CIFAR, and folders of images."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


def write_idx(root: Path, name: str) -> tuple[Bytes, Bytes]:
    """Write 8 training and 4 test images below a root, and return all images and labels."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype="uint8")
    labels = np.arange(12, dtype="uint8") % 10
    for split, part in (("train", slice(8)), ("t10k", slice(8, None))):
        for kind, array in (("images-idx3", images[part]), ("labels-idx1", labels[part])):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return images, labels


def write_cifar(
    root: Path, kind: Any, key: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> Bytes:
    """Write batches of the same 6 images below a root, with hashes that torchvision takes."""
    from torchvision.datasets.utils import calculate_md5

    folder = root / kind.base_folder
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype="uint8")

    def write(name: str, content: dict[str, Any]) -> list[str]:
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, calculate_md5(str(folder / name))]

    batch = {"data": images.reshape(6, -1), key: list(range(6))}
    for files in ("train_list", "test_list"):
        monkeypatch.setattr(kind, files, [write(name, batch) for name, _ in getattr(kind, files)])
    names = [f"class {i}" for i in range(classes)]
    meta = write(kind.meta["filename"], {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    return images


def write_images(root: Path, classes: dict[str, int]) -> None:
    """Write a folder of each class with so many images, red by class and green by number."""
    for shade, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (9, 7), (50 * shade, i, 200)).save(root / name / f"{i}.png")
