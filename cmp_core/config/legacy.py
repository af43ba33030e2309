"""What configurations of older scripts say otherwise: names of datasets, and what follows from one.

Their other keys are those of `Config`, or decide results, and are refused by name like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cmp_core.config.schema import Config, shown

_SHORT = {"fmnist": "fashionmnist"}
"""Spellings that stand for others."""


def spelling(dataset: str) -> str:
    """Return what all ways to write a dataset's name have in common.

    >>> spelling("fashion-mnist") == spelling("Fashion_MNIST") == spelling("fmnist")
    True
    """
    letters = "".join(character for character in dataset.lower() if character.isalnum())
    return _SHORT.get(letters, letters)


def dataset_name(dataset: str, known: Iterable[str]) -> str:
    """Return the registered name that a dataset's name stands for; itself where there is no one.

    >>> dataset_name("fashion-mnist", ["fashion_mnist", "mnist"]), dataset_name("m-nist", [])
    ('fashion_mnist', 'm-nist')
    """
    names = list(known)
    alike = [name for name in names if spelling(name) == spelling(dataset)]
    return alike[0] if dataset not in names and len(alike) == 1 else dataset


def contradictions(config: Config, num_classes: int, input_dim: int) -> Iterator[str]:
    """Yield where a configuration says other sizes than the dataset has, in sentences.

    Args:
        config: what it says.
        num_classes, input_dim: of the dataset: classes, and numbers per sample.
    """
    found = {"num_classes": num_classes, "input_dim": input_dim}
    for key, size in found.items():
        stated = getattr(config, key)
        if stated not in (None, size):
            yield (
                f"{key}: dataset '{config.dataset}' has {size:,}, got {shown(stated)}; the key "
                "follows from the dataset: leave it out, or choose the dataset that it is of"
            )
