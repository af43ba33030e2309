"""Tests of `cmp_core.data.load`: splits of any dataset, and what is no dataset."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from cmp_core.config.schema import Config
from cmp_core.data import load as load_module
from cmp_core.data.load import load_data
from cmp_core.data.raw import Images, RawData, Stream
from cmp_core.datasets.digits import load_digits
from cmp_core.errors import ConfigError, DataError
from tests.data.samples import CPU, load, numbers, read_all


def test_splits_are_disjoint_and_cover_everything() -> None:
    data = load(Config(val_size=10), numbers())
    parts = [data.train.ids, data.val.ids, data.test.ids]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert [len(part) for part in parts] == [70, 10, 20]
    assert data.input_size == 6


def test_the_split_follows_the_seed_and_the_test_does_not() -> None:
    first, again, other = (load(Config(seed=s), numbers()) for s in (0, 0, 1))
    assert np.array_equal(first.val.ids, again.val.ids)
    assert not np.array_equal(first.val.ids, other.val.ids)
    assert np.array_equal(first.test.ids, other.test.ids)


def test_the_measured_subset_and_the_class_means_use_different_samples() -> None:
    data = load(Config(val_size=20), numbers())
    assert len(data.measured) == 20
    assert len(data.reference) == 40  # all that is left, for lack of 50 per class
    assert not set(data.measured) & set(data.reference)
    assert set(data.train.labels[data.reference]) == {0, 1, 2, 3}


@pytest.mark.parametrize(("size", "count"), [(80, "80"), (99, "99")])
def test_a_validation_split_that_takes_everything_is_an_error(size: int, count: str) -> None:
    with pytest.raises(ConfigError, match=f"fewer than the 80 training samples, got {count}"):
        load(Config(val_size=size), numbers())


def test_labels_beyond_the_classes_are_an_error() -> None:
    raw = numbers(classes=4)
    raw = RawData(raw.train, None, ("a", "b"))
    with pytest.raises(DataError, match="labels from 0 to 1, got labels from 0 to 3"):
        load(Config(), raw)


def test_the_memory_budget_is_a_quarter() -> None:
    budget = load_module.memory_budget(CPU)
    assert 2**20 < budget < 2**45


def test_class_means_have_samples_of_every_class_however_small_validation_is() -> None:
    data = load_data(Config(val_size=2), lambda: load_digits(Config()), CPU)
    assert np.bincount(data.train.labels[data.reference]).tolist() == [50] * 10


class Squares(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """A dataset that knows nothing of cmp."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2, 3), float(index)), index % 4


def test_a_plugin_may_return_any_torch_dataset() -> None:
    data = load_data(Config(), Squares, CPU)
    assert data.class_names == ("0", "1", "2", "3")
    assert data.input_size == 6
    batch = next(data.test.batches(np.arange(3), 3))
    assert batch.inputs[:, 0, 0].tolist() == batch.sample_ids.tolist()
    assert (batch.sample_ids % 4).tolist() == batch.labels.tolist()


def test_what_is_no_dataset_is_told() -> None:
    with pytest.raises(DataError, match="expected RawData, or a torch Dataset with a length"):
        load_data(Config(), lambda: [1, 2], CPU)


def test_labels_of_the_test_split_are_checked_as_well() -> None:
    raw = numbers()
    bad = RawData(raw.train, Images(np.zeros((2, 1, 3, 2)), [0, 7]), raw.class_names)
    with pytest.raises(DataError, match="from 0 to 3, got labels from 0 to 7"):
        load(Config(), bad)


class Labelled(Squares):
    """A dataset whose items carry the labels that it is given."""

    def __init__(self, labels: list[Any]) -> None:
        self._labels = labels

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.full((2, 3), float(index)), self._labels[index % len(self._labels)]


@pytest.mark.parametrize(
    "labels", [[0, 1], [0.0, 1.0], list(torch.arange(2)), list(np.arange(2)), [False, True]]
)
def test_whole_numbers_of_any_type_are_labels_of_items(labels: list[Any]) -> None:
    data = load_data(Config(), lambda: Labelled(labels), CPU)
    assert data.class_names == ("0", "1")
    assert set(data.train.labels) == {0, 1}


@pytest.mark.parametrize("labels", [[0.5], ["3"], [torch.eye(3)[0]], [None], [np.nan]])
def test_other_labels_of_items_are_told(labels: list[Any]) -> None:
    with pytest.raises(DataError, match=r"dataset 'digits': expected labels \(n,\) of whole"):
        load_data(Config(), lambda: Labelled(labels), CPU)


def test_what_a_torch_dataset_says_of_its_classes_is_checked() -> None:
    found = Labelled([0, 1])
    found.classes = 2
    with pytest.raises(DataError, match=r"class_names: expected a tuple .* got int 2"):
        load_data(Config(), lambda: found, CPU)
    found.classes = np.array([7, 9])
    assert load_data(Config(), lambda: found, CPU).class_names == ("7", "9")


def test_a_sample_that_is_not_finite_is_found_where_it_is_read() -> None:
    class Holed(Squares):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            sample, label = super().__getitem__(index)
            return (sample / 0 if index == 33 else sample), label

    data = load_data(Config(), lambda: RawData(Stream(Holed(), [0] * 40), None, ("a",)), CPU)
    with pytest.raises(DataError, match=r"^training sample 33: expected finite numbers"):
        read_all(data)


def test_where_items_are_read_for_their_labels_all_samples_are_checked() -> None:
    class Growing(Squares):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(2, 3 + (index == 39)), 0

    with pytest.raises(DataError, match=r"sample 39: expected shape \(2, 3\), got \(2, 4\)"):
        load_data(Config(), Growing, CPU)


def test_a_dataset_too_small_to_split_is_told() -> None:
    with pytest.raises(DataError, match="dataset 'digits': expected at least 3 samples"):
        load(Config(), numbers(n=2))


def test_a_validation_split_of_its_own_is_taken_and_leaves_training_whole() -> None:
    raw = numbers()
    val = Images(np.full((7, 1, 3, 2), 200, "uint8"), np.arange(7) % 4)
    data = load(Config(val_size=30), attrs.evolve(raw, val=val))
    assert [len(split.ids) for split in (data.train, data.val, data.test)] == [80, 7, 20]
    assert len(data.measured) == 7
    assert (next(data.val.batches(np.arange(7), 7)).inputs == 200).all()


def test_moments_that_are_not_given_are_those_of_training_samples() -> None:
    raw = numbers(channels=2)
    raw.train.pixels[:, 1] = 7  # constant: nothing to scale
    data = load(Config(), attrs.evolve(raw, mean=None, std=None))
    everything = np.arange(len(data.train.ids))
    inputs = next(data.train.batches(everything, 100)).inputs.double()
    assert inputs[:, 0].mean().item() == pytest.approx(0, abs=1e-6)
    assert inputs[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert (inputs[:, 1] == 0).all()
    given = load(Config(), attrs.evolve(raw, mean=(3.0,), std=None))
    assert next(given.train.batches(np.arange(1), 1)).inputs[0, 1, 0, 0].item() == 4
