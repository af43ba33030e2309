"""The original MNIST digits: 60,000 + 10,000 grey images of 28×28 pixels."""

from __future__ import annotations

from cmp_core.config.schema import Config
from cmp_core.data.raw import RawData
from cmp_core.datasets._torchvision import load_torchvision
from cmp_core.events.hookspecs import Register, hookimpl

_FILES = tuple(
    f"MNIST/raw/{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def load_mnist(config: Config) -> RawData:
    """Return the dataset from `data_dir`, downloaded on first use."""
    return load_torchvision(config, "MNIST", _FILES, mean=(0.1307,), std=(0.3081,))


@hookimpl
def cmp_register_datasets(register: Register) -> None:
    """Register the dataset."""
    register(load_mnist, name="mnist")
