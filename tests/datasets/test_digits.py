"""Tests of the digits of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from cmp_core.config.schema import Config
from cmp_core.data.raw import Stream
from cmp_core.datasets.digits import load_digits
from tests.data.samples import load


def test_digits() -> None:
    raw = load_digits(Config())
    assert not isinstance(raw.train, Stream)
    assert raw.train.pixels.shape == (1797, 1, 8, 8)
    assert raw.train.pixels.max() == 16


def test_digits_are_normalised_with_moments_of_the_training_samples_alone() -> None:
    data = load(Config(seed=3), load_digits(Config()))
    inputs = next(data.train.batches(np.arange(len(data.train.ids)), 2000)).inputs.double()
    assert inputs.mean().item() == pytest.approx(0, abs=1e-6)
    assert inputs.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    tested = next(data.test.batches(np.arange(len(data.test.ids)), 2000)).inputs
    assert abs(tested.mean().item()) > 1e-4
