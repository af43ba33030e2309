"""Hashes and folds of sample ids again, in Python's integers, without a shared line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_BITS = 2**64
_GOLDEN = 0x9E3779B97F4A7C15
_FOLD_SEED, _HALF_SEED, _GROUP_SEED = 1, 2, 3


def split_mix_64(seed: int) -> Iterator[int]:
    """Yield the numbers of the generator as Steele, Lea and Flood (2014) publish it."""
    state = seed % _BITS
    while True:
        state = (state + _GOLDEN) % _BITS
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % _BITS
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % _BITS
        yield z ^ (z >> 31)


def stream_of(seed: int) -> int:
    """Return the seed of the generator whose numbers are the hashes of the ids 1, 2, 3, …."""
    return next(split_mix_64(seed * _GOLDEN))


def hash_of(sample_id: int, seed: int) -> int:
    """Return the id-th number of a seed's stream, whose first is that of id 1."""
    return next(split_mix_64(stream_of(seed) + (sample_id - 1) * _GOLDEN))


def half_of(sample_id: int) -> int:
    """Return the half of a sample among the fitting samples: the last bit of its hash."""
    return hash_of(sample_id, _HALF_SEED) % 2


def groups_of(ids: Sequence[int]) -> list[int]:
    """Return the group of every sample: by hash, the k-th goes to group k mod 20."""

    def place(i: int) -> int:
        number = hash_of(ids[i], _GROUP_SEED)
        return number - _BITS * (number >= _BITS // 2)

    group = [0] * len(ids)
    for k, i in enumerate(sorted(range(len(ids)), key=place)):
        group[i] = k % 20
    return group


def folds_of(ids: Sequence[int], labels: Sequence[int] | None) -> list[int]:
    """Return the fold of every sample: by class, then by hash, the k-th goes to fold k mod 5.

    Hashes are ordered as numbers of 64 bits with a sign.
    """

    def place(i: int) -> tuple[int, int]:
        number = hash_of(ids[i], _FOLD_SEED)
        return 0 if labels is None else labels[i], number - _BITS * (number >= _BITS // 2)

    fold = [0] * len(ids)
    for k, i in enumerate(sorted(range(len(ids)), key=place)):
        fold[i] = k % 5
    return fold
