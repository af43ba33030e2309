"""Tests of `cmp_core.data.raw`: samples and labels as a plugin hands them over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from cmp_core.data.raw import Images, RawData, Stream
from cmp_core.errors import DataError


def test_samples_and_labels_must_agree() -> None:
    with pytest.raises(DataError, match="got 3 samples and 2 labels"):
        Images(np.zeros((3, 1)), np.zeros(2, int))


@pytest.mark.parametrize(
    "labels",
    [
        [0, 2],
        np.array([0, 2], "uint16"),
        np.array([0.0, 2.0], "float32"),
        torch.tensor([0, 2], dtype=torch.int8),
        torch.tensor([0, 2], dtype=torch.bfloat16),
        [torch.tensor(0), torch.tensor(2)],
    ],
)
def test_whole_numbers_of_any_type_are_labels(labels: Any) -> None:
    found = Images(np.zeros((2, 1)), labels).labels
    assert found.dtype == torch.int64
    assert found.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        ([0.0, 0.5], "got 0.5 at position 1"),
        (np.array([np.nan, 0]), "got nan at position 0"),
        (torch.tensor([0, np.inf]), "got inf at position 1"),
        (np.eye(2), r"got shape \(2, 2\)"),
        (["cat", "dog"], r"got <U3 such as 'cat'"),
        ([None, 1], "got object"),
        ([[0], [0, 1]], "got list; ValueError: setting an array element"),
        (torch.tensor(3), r"got shape \(\)"),
    ],
)
def test_other_labels_are_refused(labels: Any, what: str) -> None:
    with pytest.raises(DataError, match=rf"expected labels \(n,\) of whole numbers, {what}"):
        Images(np.zeros((2, 1)), labels)


@pytest.mark.parametrize(
    "pixels",
    [
        [np.zeros(3), np.zeros(4)],
        np.array([["a"], ["b"]]),
        np.array([[None], [1]]),
        [Image.new("L", (3, 3))] * 2,
        np.zeros(2),
        np.zeros((2, 1), complex),
    ],
)
def test_samples_are_numbers_of_one_shape(pixels: Any) -> None:
    with pytest.raises(DataError, match=r"expected samples \(n, …\) of"):
        Images(pixels, [0, 1])


def test_a_stream_has_a_length() -> None:
    class Endless(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([])

    with pytest.raises(DataError, match="a torch Dataset with a length, got Endless"):
        Stream(Endless(), [0])


def test_splits_have_names() -> None:
    some = Images(np.zeros((2, 1)), [0, 1])
    assert list(RawData(some, None, ("a", "b")).splits) == ["training"]
    assert list(RawData(some, some, ("a", "b"), val=some).splits) == [
        "training",
        "validation",
        "test",
    ]
