"""Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey images of 28×28 pixels."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.data.raw import RawData
from cmp_core.datasets._torchvision import load_torchvision
from cmp_core.events.hookspecs import Register, hookimpl

_FILES = tuple(
    f"FashionMNIST/raw/{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def load_fashion_mnist(config: Config) -> RawData:
    """Return the dataset from `data_dir`, downloaded on first use."""
    return load_torchvision(config, "FashionMNIST", _FILES, mean=(0.2860,), std=(0.3530,))


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_fashion_mnist, name="fashion_mnist")
