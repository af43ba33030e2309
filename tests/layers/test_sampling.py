"""Tests of `cmp_core.layers.sampling`: hashes, subsets and folds."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from cmp_core.layers import sampling
from cmp_core.layers.sampling import FOLDS, balanced, by_hash, choose, fold_order, hash_ids
from tests.oracles.sampling import folds_of, hash_of, split_mix_64, stream_of

REFERENCE = {
    0: [16294208416658607535, 7960286522194355700, 487617019471545679],
    1234567: [6457827717110365317, 3203168211198807973, 9817491932198370423],
}
"""The first numbers of the public SplitMix64 from two seeds."""


@pytest.mark.parametrize(("start", "numbers"), REFERENCE.items())
def test_the_oracle_is_the_public_generator(start: int, numbers: list[int]) -> None:
    assert list(islice(split_mix_64(start), 3)) == numbers


@pytest.mark.parametrize(("start", "numbers"), REFERENCE.items())
@pytest.mark.parametrize("seed", [0, 1, 77])
def test_hashes_of_consecutive_ids_are_consecutive_numbers_of_the_generator(
    seed: int, start: int, numbers: list[int]
) -> None:
    """At the ids where the stream of a seed comes past the known numbers."""
    steps = pow(0x9E3779B97F4A7C15, -1, 2**64) * (start - stream_of(seed))
    ids = np.array([(steps + i) % 2**64 for i in (1, 2, 3)], np.uint64).view(np.int64)
    assert hash_ids(ids, seed).tolist() == numbers


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20), st.integers(0, 1000))
def test_the_hash_is_split_mix_64(ids: list[int], seed: int) -> None:
    assert hash_ids(np.array(ids), seed).tolist() == [hash_of(i, seed) for i in ids]


@given(
    st.dictionaries(st.integers(0, 2**62), st.integers(0, 3), min_size=1, max_size=40),
    st.booleans(),
)
def test_samples_are_assigned_to_folds_by_class_and_then_by_hash(
    samples: dict[int, int], is_labelled: bool
) -> None:
    ids, labels = list(samples), list(samples.values()) if is_labelled else None
    order = fold_order(torch.tensor(ids), None if labels is None else torch.tensor(labels))
    assert sampling.parts_of(order, FOLDS).tolist() == folds_of(ids, labels)


def test_a_subset_is_no_special_part_of_the_folds() -> None:
    """By one hash for both, the subset would be assigned in one piece."""
    ids = np.arange(10_000)
    place = np.argsort(fold_order(torch.from_numpy(ids), None).numpy())
    counts = np.histogram(place[choose(ids, 1000)], bins=10, range=(0, 10_000))[0]
    assert np.all(np.abs(counts - 100) < 50)  # five standard deviations


def test_seeds_do_not_slide_the_hashes_along_the_ids() -> None:
    ids = np.arange(1000)
    first, second = hash_ids(ids, 0), hash_ids(ids, 1)
    assert not set(first.tolist()) & set(second.tolist())


@given(st.permutations(range(40)), st.integers(0, 40), st.integers(0, 5))
def test_order_does_not_change_the_choice(order: list[int], size: int, seed: int) -> None:
    ids = np.array(order)
    expected = set(choose(np.arange(40), size, seed).tolist())
    assert set(ids[choose(ids, size, seed)].tolist()) == expected


def test_a_part_of_the_ids_chooses_a_part_of_the_choice() -> None:
    everything = np.arange(1000)
    chosen = set(everything[choose(everything, 100)])
    half = everything[::2]
    assert set(half[choose(half, 100)]) >= chosen & set(half)


def test_seeds_choose_differently_and_evenly() -> None:
    ids = np.arange(10_000)
    assert not np.array_equal(by_hash(ids, 0), by_hash(ids, 1))
    counts = np.histogram(choose(ids, 5000), bins=10, range=(0, 10_000))[0]
    assert np.all(np.abs(counts - 500) < 80)  # five standard deviations


def test_balanced_takes_what_rare_classes_have() -> None:
    labels = np.array([0] * 90 + [1] * 8 + [2] * 2)
    chosen = labels[balanced(np.arange(100), labels, 30)]
    assert np.bincount(chosen).tolist() == [20, 8, 2]
