from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from cmp_core.layers.sampling import balanced, by_hash, choose, hash_ids


def split_mix(state: int) -> int:
    """SplitMix64 in Python's integers: the slow, obvious twin."""
    mask = 2**64 - 1
    z = state & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20), st.integers(0, 1000))
def test_the_hash_is_split_mix_64(ids: list[int], seed: int) -> None:
    golden = 0x9E3779B97F4A7C15
    offset = split_mix((seed + 1) * golden)
    expected = [split_mix(i * golden + offset) for i in ids]
    assert hash_ids(np.array(ids), seed).tolist() == expected


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
