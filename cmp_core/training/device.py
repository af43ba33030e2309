"""Which device a run computes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError

_NARROW = 512
"""Units per layer up to which several threads save nothing, see `tests/benchmarks/threads.py`."""


def choose_threads(config: Config) -> int:
    """Return with how many threads a run computes; `auto` takes one for narrow layers.

    At most as many as there are cores, or as `OMP_NUM_THREADS` and `torchrun` say.
    """
    if isinstance(config.threads, int):
        return config.threads
    return 1 if config.N <= _NARROW else torch.get_num_threads()


@contextmanager
def threads(number: object) -> Iterator[None]:
    """Compute with a number of threads within a `with` block, as sums are rounded by it.

    Args:
        number: of threads; anything else than a whole number from 1 to 1,024 changes nothing.
    """
    before = torch.get_num_threads()
    if isinstance(number, int) and 0 < number <= _MOST_THREADS:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_MOST_THREADS = 1024
"""A run's file may say anything, and the system ends processes that ask for too many."""


def choose_device(config: Config) -> torch.device:
    """Return the device that the configuration asks for; `auto` takes CUDA, MPS, or the CPU.

    Raises:
        ConfigError: the machine has no such device, or `amp` is asked for on another than CUDA.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    wanted = config.device
    if wanted == "auto":
        wanted = next(kind for kind, is_there in available.items() if is_there)
    if wanted == "cuda" and "LOCAL_RANK" in os.environ:  # each process of torchrun has its own
        wanted = f"cuda:{os.environ['LOCAL_RANK']}"
    device = torch.device(wanted)
    too_high = device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()
    if not available[device.type] or too_high:
        raise ConfigError([f"device: this machine has no device '{wanted}'"])
    if config.amp and device.type != "cuda":
        raise ConfigError([f"amp: expected a CUDA device, got {device}"])
    return device
