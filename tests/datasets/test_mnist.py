"""Tests of MNIST, from files of its format and from the original."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Images
from cmp_core.datasets.mnist import load_mnist
from tests.datasets.files import write_idx


def test_files_of_its_format_are_read(tmp_path: Path) -> None:
    images, labels = write_idx(tmp_path, "MNIST")
    raw = load_mnist(Config(data_dir=str(tmp_path)))
    assert isinstance(raw.train, Images)
    assert isinstance(raw.test, Images)
    assert raw.train.pixels[:, 0].tolist() == images[:8].tolist()
    assert raw.test.pixels[:, 0].tolist() == images[8:].tolist()
    assert raw.test.labels.tolist() == labels[8:].tolist()
    assert raw.class_names[3] == "3 - three"
    assert not raw.augment


def test_the_original_has_the_mean_and_deviation_that_are_divided_out(mnist: Path) -> None:
    raw = load_mnist(Config(data_dir=str(mnist)))
    assert isinstance(raw.train, Images)
    assert isinstance(raw.test, Images)
    assert (len(raw.train.labels), len(raw.test.labels)) == (60_000, 10_000)
    pixels = raw.train.pixels.double()
    assert pixels.mean().item() == pytest.approx(raw.mean[0], rel=1e-3)
    assert pixels.std().item() == pytest.approx(raw.std[0], rel=1e-3)
