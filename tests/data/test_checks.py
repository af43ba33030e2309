"""Tests of what must hold of a dataset before training."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from cmp_core.data.checks import check_data
from cmp_core.data.raw import Images, RawData, Stream
from cmp_core.errors import DataError
from tests.data.samples import numbers


def changed(**changes: Any) -> RawData:
    return attrs.evolve(numbers(channels=2), **changes)


def images(shape: tuple[int, ...], value: float = 0.0) -> Images:
    return Images(torch.full((4, *shape), value, dtype=torch.float64), [0, 1, 2, 3])


def stream(shape: tuple[int, ...], value: float = 0.0) -> Stream:
    samples = torch.full((4, *shape), value)
    return Stream(TensorDataset(samples, torch.arange(4)), torch.arange(4))  # type: ignore[arg-type]


def test_the_shape_of_samples_is_returned() -> None:
    assert check_data(numbers(channels=2), 0) == (2, 3, 2)
    assert check_data(attrs.evolve(numbers(), train=stream((5, 6))), 0) == (5, 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": ["a", "b", "c", "d"]},
        {"class_names": np.array(["a", "b", "c", "d"])},
        {"mean": 3.0, "std": 2},
        {"mean": [1.0, 2.0], "std": np.array([1.0, 2.0])},
        {"mean": torch.tensor([1.0, 2.0]), "std": None},
        {"test": images((2, 3, 2)), "val": stream((2, 3, 2))},
    ],
)
def test_what_can_be_trained_on_passes(changes: dict[str, Any]) -> None:
    assert check_data(changed(**changes), 0) == (2, 3, 2)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"class_names": None}, "class_names: expected a tuple of one text per class, got None"),
        ({"class_names": "abcd"}, "class_names: expected a tuple of one text per class"),
        ({"class_names": ()}, "class_names: expected a tuple of one text per class"),
        ({"class_names": ("a", 1, "c", "d")}, "one text per class, got int 1 among them"),
        ({"class_names": ("a", "b")}, "training: expected labels from 0 to 1, got .* 0 to 3"),
        ({"train": torch.zeros(3, 4)}, "training: expected Images or Stream, got Tensor"),
        ({"train": None}, "training: expected Images or Stream, got NoneType"),
        ({"test": images((2, 3, 3))}, r"test: expected samples \(2, 3, 2\) .* got \(2, 3, 3\)"),
        ({"val": stream((2, 9, 2))}, r"validation: expected samples \(2, 3, 2\)"),
        ({"test": images((2, 0, 3))}, r"test: expected at least one number per sample"),
        ({"train": images((3,), np.nan)}, "training sample 0: expected finite numbers"),
        ({"train": images((3,), 1e300)}, "training sample 0: expected finite numbers"),
        ({"val": images((2, 3, 2), np.inf)}, "validation sample 0: expected finite numbers"),
        ({"test": stream((2, 3, 2), np.nan)}, "test sample 0: expected finite numbers"),
        ({"mean": (1.0, 2.0, 3.0)}, "mean: expected 1 number, or 2 for the channels"),
        ({"std": [[1.0, 2.0]]}, "std: expected 1 number, or 2 for the channels"),
        ({"mean": (np.nan,)}, "mean: expected finite numbers"),
        ({"mean": "half"}, "mean: expected one number per channel, got str 'half'"),
        ({"std": (1.0, 0.0)}, "std: expected numbers above 0"),
        ({"std": (-1.0,)}, "std: expected numbers above 0"),
        ({"std": (1e-60,)}, "std: expected numbers above 0"),
        ({"train": stream((2, 3, 2)), "mean": None}, "mean: expected numbers for a Stream"),
        ({"train": images((4,)), "augment": True}, "augment: expected images"),
    ],
)
def test_what_cannot_is_told(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError, match=problem) as caught:
        check_data(changed(**changes), 0)
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_is_told_together() -> None:
    raw = changed(class_names=None, mean=(1.0,) * 5, std=(0.0,), test=images((7,), np.nan))
    with pytest.raises(DataError) as caught:
        check_data(raw, 0)
    first, *lines = str(caught.value).splitlines()
    assert not first
    assert [line.strip().split(":")[0] for line in lines] == [
        "class_names",
        "test sample 0",
        "mean",
        "std",
    ]


def test_the_position_of_a_sample_is_counted_over_chunks() -> None:
    pixels = torch.zeros(3000, 2)
    pixels[2500, 1] = torch.nan
    raw = RawData(Images(pixels, torch.zeros(3000)), None, ("a",))
    with pytest.raises(DataError, match=r"^training sample 2500: expected finite numbers"):
        check_data(raw, 0)


class Broken(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        raise KeyError(index)


def test_a_first_sample_that_cannot_be_read_is_told() -> None:
    with pytest.raises(DataError, match="test sample 0 cannot be read: KeyError: 0"):
        check_data(changed(test=Stream(Broken(), torch.arange(4))), 0)
