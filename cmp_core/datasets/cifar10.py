"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32×32 pixels."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.data.raw import RawData
from cmp_core.datasets._torchvision import load_torchvision
from cmp_core.events.hookspecs import Register, hookimpl

_NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_FILES = tuple(f"cifar-10-batches-py/{name}" for name in _NAMES)
_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2470, 0.2435, 0.2616)


def load_cifar10(config: Config) -> RawData:
    """Return the dataset from `data_dir`, downloaded on first use; training augments it."""
    return load_torchvision(config, "CIFAR10", _FILES, _MEAN, _STD, augment=True)


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_cifar10, name="cifar10")
