"""Tests of reading samples through a DataLoader."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from cmp_core.data.reader import Reader, read_item
from cmp_core.errors import DataError


class Items(Dataset[Any]):
    """Pairs of which one item is another."""

    def __init__(self, other: Any = None) -> None:
        self._other = other

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        if index == 4 and self._other is not None:
            return self._other() if callable(self._other) else self._other
        return np.full(3, index, "float32"), index


def read(dataset: Dataset[Any], workers: int = 0, shape: tuple[int, ...] | None = (3,)) -> Any:
    return list(Reader(dataset, "test", workers, shape).batches(np.array([5, 4, 0]), 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_come_in_the_order_that_is_asked_for(workers: int) -> None:
    first, second = read(Items(), workers)
    assert first.tolist() == [[5.0] * 3, [4.0] * 3]
    assert second.tolist() == [[0.0] * 3]


@pytest.mark.parametrize("label", [None, "cat", [1, 0], torch.ones(3)])
def test_the_label_of_an_item_does_not_matter(label: object) -> None:
    first, _ = read(Items((torch.ones(3), label)))
    assert first[1].tolist() == [1.0] * 3


def fail() -> None:
    raise FileNotFoundError("no such file: 4.npy")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"image": torch.ones(3)}, r"expected \(tensor, label\), got dict"),
        ((torch.ones(3), 1, "extra"), r"expected \(tensor, label\), got tuple of 3"),
        (torch.ones(3), r"expected \(tensor, label\), got Tensor"),
        ((Image.new("L", (3, 3)), 1), "expected a tensor of real numbers, got Image"),
        (([1.0, 2.0, 3.0], 1), "expected a tensor of real numbers, got list"),
        ((np.array(["a"] * 3), 1), "expected a tensor of real numbers, got ndarray"),
        ((torch.tensor(1.0), 1), "expected a tensor of real numbers, got Tensor"),
        (
            (torch.ones(3, dtype=torch.complex64), 1),
            "expected a tensor of real .* torch.complex64",
        ),
        ((torch.ones(4), 1), r"expected shape \(3,\), got \(4,\)"),
        ((torch.tensor([1, np.nan, 2]), 1), "expected finite numbers, got NaN or infinity"),
        (fail, "cannot be read: FileNotFoundError: no such file: 4.npy"),
    ],
)
def test_an_item_of_another_form_is_named(item: Any, problem: str, workers: int) -> None:
    with pytest.raises(DataError, match=f"^test sample 4:? {problem}") as caught:
        read(Items(item), workers)
    assert "\n" not in str(caught.value)


def test_sample_and_label_of_an_item_are_returned() -> None:
    sample, label = read_item(Items((np.arange(2), "a")), 4, "training", None)
    assert sample.tolist() == [0, 1]
    assert label == "a"


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_different_types_make_a_batch(workers: int) -> None:
    first, _ = read(Items((torch.ones(3, dtype=torch.uint8), 1)), workers)
    assert first.tolist() == [[5.0] * 3, [1.0] * 3]


@pytest.fixture
def spawn() -> Any:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("spawn")
def test_a_dataset_that_cannot_be_sent_to_a_worker_is_told() -> None:
    make: Callable[[], Any] = lambda: (torch.ones(3), 1)  # noqa: E731
    with pytest.raises(DataError, match=r"test samples cannot be sent .* num_workers=0"):
        read(Items(make), workers=1)
