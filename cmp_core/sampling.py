"""Choosing samples by a hash of their id, so that no order, chunk or shard changes the choice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hash_ids(ids: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint64]:
    """Return a well-mixed 64-bit hash of every sample id (n,): SplitMix64, Steele et al. 2014.

    >>> ids = np.arange(3)
    >>> bool((hash_ids(ids)[::-1] == hash_ids(ids[::-1])).all())
    True
    """
    # The seed is mixed first: added as it is, it would only slide the hashes along the ids.
    offset = _mix(np.array([seed], np.uint64) * _GOLDEN + _GOLDEN)
    return _mix(np.asarray(ids).astype(np.uint64) * _GOLDEN + offset)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def by_hash(ids: NDArray[np.int64], seed: int = 0) -> NDArray[np.intp]:
    """Return positions that put the ids (n,) in the order of their hashes."""
    return np.lexsort((ids, hash_ids(ids, seed)))


def choose(ids: NDArray[np.int64], size: int, seed: int = 0) -> NDArray[np.intp]:
    """Return the sorted positions of the `size` ids with the smallest hashes, or of all ids.

    >>> ids = np.arange(100)
    >>> set(ids[choose(ids, 10)]) == set(ids[::-1][choose(ids[::-1], 10)])
    True
    """
    return np.sort(by_hash(ids, seed)[:size])


def balanced(
    ids: NDArray[np.int64], labels: NDArray[np.int64], size: int, seed: int = 0
) -> NDArray[np.intp]:
    """Return the sorted positions of `size` samples, spread over the classes as evenly as can be.

    >>> labels = np.array([0] * 8 + [1] * 2)
    >>> labels[balanced(np.arange(10), labels, 4)].tolist()
    [0, 0, 1, 1]
    """
    order = by_hash(ids, seed)
    rank = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])
