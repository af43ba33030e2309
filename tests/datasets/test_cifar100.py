"""Tests of CIFAR-100, from files of its format."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images
from cmp_core.datasets.cifar100 import load_cifar100
from tests.datasets.files import write_cifar


def test_files_of_its_format_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR100

    images = write_cifar(tmp_path, CIFAR100, "fine_labels", 100, monkeypatch)
    raw = load_cifar100(Config(data_dir=str(tmp_path)))
    assert isinstance(raw.train, Images)
    assert len(raw.train.labels) == 6 * len(CIFAR100.train_list)
    assert raw.train.pixels[:6].tolist() == images.tolist()
    assert raw.train.labels[:6].tolist() == list(range(6))
    assert raw.class_names == tuple(f"class {i}" for i in range(100))
    assert raw.augment
