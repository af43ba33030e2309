"""CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 colour images of 32×32 pixels, 100 classes."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.data.raw import RawData
from cmp_core.datasets._torchvision import load_torchvision
from cmp_core.events.hookspecs import Register, hookimpl

_FILES = tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta"))
_MEAN = (0.5071, 0.4865, 0.4409)
_STD = (0.2673, 0.2564, 0.2762)


def load_cifar100(config: Config) -> RawData:
    """Return the dataset from `data_dir`, downloaded on first use; training augments it."""
    return load_torchvision(config, "CIFAR100", _FILES, _MEAN, _STD, augment=True)


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_cifar100, name="cifar100")
