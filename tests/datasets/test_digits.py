"""Tests of the digits of scikit-learn."""

from __future__ import annotations

import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Stream
from cmp_core.datasets.digits import load_digits


def test_digits() -> None:
    raw = load_digits(Config())
    assert not isinstance(raw.train, Stream)
    assert raw.train.pixels.shape == (1797, 1, 8, 8)
    assert raw.train.pixels.max() == 16
    pixels = raw.train.pixels.float()
    assert pixels.mean().item() == pytest.approx(raw.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(raw.std[0], abs=1e-3)
