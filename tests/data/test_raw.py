"""Tests of `cmp_core.data.raw`: samples and labels as a plugin hands them over."""

from __future__ import annotations

import numpy as np
import pytest

from cmp_core.data.raw import Images
from cmp_core.errors import DataError


def test_samples_and_labels_must_agree() -> None:
    with pytest.raises(DataError, match="got 3 samples and 2 labels"):
        Images(np.zeros((3, 1)), np.zeros(2, int))


def test_labels_are_whole_numbers() -> None:
    with pytest.raises(DataError, match=r"labels \(n,\) of whole numbers, got torch\.float64"):
        Images(np.zeros((2, 1)), np.zeros(2))
