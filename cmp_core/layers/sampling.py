"""Choosing samples by a hash of their id, so that no order, chunk or shard changes the choice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FOLDS = 5
"""Parts of the measured samples of which each is held out once."""


def hash_ids(ids: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint64]:
    """Return a well-mixed 64-bit hash of every sample id (n,): SplitMix64, Steele et al. 2014.

    >>> ids = np.arange(3)
    >>> bool((hash_ids(ids)[::-1] == hash_ids(ids[::-1])).all())
    True
    """
    hashes = _hash(torch.from_numpy(np.ascontiguousarray(ids, np.int64)), seed)
    return hashes.numpy().view(np.uint64)


def _hash(ids: Tensor, seed: int) -> Tensor:
    # The seed is mixed first: added as it is, it would only slide the hashes along the ids.
    offset: Tensor = _mix(torch.full((), seed, device=ids.device) * _GOLDEN + _GOLDEN)
    return _mix(ids * _GOLDEN + offset)


def _signed(number: int) -> int:
    """Return the int64 of the same bits: torch multiplies these as C multiplies uint64."""
    return number - 2**64


_GOLDEN = _signed(0x9E3779B97F4A7C15)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Return the bits moved right, with zeros from the left, which torch's >> does not do."""
    return torch.bitwise_and(x >> bits, 2 ** (64 - bits) - 1)


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


GROUPS = 20
"""Parts of the measured samples of which each is left out once, for a standard error."""


def fold_order(ids: Tensor, labels: Tensor | None) -> Tensor:
    """Return the order (n,) in which samples are assigned to folds: the k-th to fold k mod 5.

    They are sorted by class and, within a class, by the hash of their id: every fold gets the same
    number of each class, to within one, and a sample's fold does not depend on the order of `ids`.
    """
    order = torch.argsort(_hash(ids, seed=_FOLD_SEED))
    return order if labels is None else order[torch.argsort(labels[order], stable=True)]


def group_order(ids: Tensor) -> Tensor:
    """Return the order (n,) in which samples are assigned to groups: the k-th to group k mod 20.

    By the hash of their id alone: groups of equal classes would vary less than samples do.
    """
    return torch.argsort(_hash(ids, seed=_GROUP_SEED))


def halves_of(ids: Tensor) -> Tensor:
    """Return the half (n,) of every sample, 0 or 1: a bit of the hash of its id.

    >>> halves_of(torch.arange(1000)).bincount()
    tensor([503, 497])
    """
    return torch.bitwise_and(_hash(ids, seed=_HALF_SEED), 1)


_FOLD_SEED, _HALF_SEED, _GROUP_SEED = 1, 2, 3
"""Other hashes than that of the subsets, so that these are no special part of a fold or half."""


def parts_of(order: Tensor, count: int) -> Tensor:
    """Return the part (n,) of every sample, 0 to `count` - 1, given their order.

    >>> labels = torch.tensor([0] * 5 + [1] * 5)
    >>> parts_of(fold_order(torch.arange(10), labels), FOLDS).bincount()
    tensor([2, 2, 2, 2, 2])
    """
    part = torch.empty_like(order)
    part[order] = torch.arange(len(order), device=order.device) % count
    return part
