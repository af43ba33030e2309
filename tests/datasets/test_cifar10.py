"""Tests of CIFAR-10, from files of its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images
from cmp_core.datasets.cifar10 import load_cifar10
from tests.datasets.files import write_cifar


def test_files_of_its_format_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10

    images = write_cifar(tmp_path, CIFAR10, "labels", 10, monkeypatch)
    raw = load_cifar10(Config(data_dir=str(tmp_path)))
    assert isinstance(raw.train, Images)
    assert len(raw.train.labels) == 6 * len(CIFAR10.train_list)
    assert raw.train.pixels[:6].tolist() == images.tolist()
    assert raw.train.labels[:6].tolist() == list(range(6))
    assert raw.class_names == tuple(f"class {i}" for i in range(10))
    assert raw.augment
