"""Tests of Fashion-MNIST, from files of its format."""

from __future__ import annotations

from pathlib import Path

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images
from cmp_core.datasets.fashion_mnist import load_fashion_mnist
from tests.datasets.files import write_idx


def test_files_of_its_format_are_read(tmp_path: Path) -> None:
    images, labels = write_idx(tmp_path, "FashionMNIST")
    raw = load_fashion_mnist(Config(data_dir=str(tmp_path)))
    assert isinstance(raw.train, Images)
    assert raw.train.pixels[:, 0].tolist() == images[:8].tolist()
    assert raw.train.labels.tolist() == labels[:8].tolist()
    assert raw.class_names[1] == "Trouser"
    assert not raw.augment
