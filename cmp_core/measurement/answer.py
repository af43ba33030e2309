"""What a metric may answer: real numbers, so many of them, under names that can be shown."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cmp_core.events.results import DeviceValue, SampleMean, SampleValues
from cmp_core.layers.arrays import wide
from cmp_core.text import NAME, described, is_name

MOST_NAMES = 1000
"""Sub-values of a metric at a layer."""

MOST_NUMBERS = 10_000
"""Numbers in all of these together."""


def by_name(value: Any) -> Mapping[str, Any]:
    """Return a metric's answer as sub-values by name; the headline's name is empty.

    Raises:
        ValueError: a name is no plain text, or there are too many or none.
    """
    if not isinstance(value, Mapping):
        return {"": value}
    pairs = list(islice(value.items(), MOST_NAMES + 1))
    if not pairs:
        raise ValueError("it returned an empty mapping")
    if len(pairs) > MOST_NAMES:
        raise ValueError(f"expected at most {MOST_NAMES:,} sub-values, got more")
    return {_checked_name(name): own for name, own in pairs}


def _checked_name(name: Any) -> str:
    if not ((type(name) is str and name == "") or is_name(name)):
        raise ValueError(
            f"expected as the name of a sub-value {NAME}, or none, got {described(name)}"
        )
    return str(name)


def on_device(value: Any) -> DeviceValue:
    """Return an answer as what can be brought to the host, with no graph behind it.

    Raises:
        TypeError, ValueError, OverflowError: it is no real number and no vector of some.
    """
    if isinstance(value, SampleMean | SampleValues):  # of the listener's own making
        return value
    if isinstance(value, Tensor):
        tensor = _plain(value)
        if tensor is not None and tensor.ndim <= 1:
            if tensor.numel() > MOST_NUMBERS:
                raise ValueError(f"expected at most {MOST_NUMBERS:,} numbers, got {len(tensor):,}")
            return tensor
    elif isinstance(value, Real):  # a metric may have left another default device
        return torch.tensor(float(value), dtype=torch.float64, device="cpu")
    raise TypeError(
        "expected a real number, a 0-d tensor, a vector (p,) or a mapping of names to such, "
        f"got {_told(value)}"
    )


def of_samples(value: Any, n: int) -> Tensor:
    """Return what a function under `split="mean"` has answered, if it is as it must be.

    Raises:
        ValueError: it is not one real number per sample.
    """
    if isinstance(value, Tensor) and value.shape == (n,):
        tensor = _plain(value)
        if tensor is not None:
            return wide(tensor)
    raise ValueError(
        f"it declares split='mean': expected one real number per sample, shape ({n},), "
        f"got {_told(value)}"
    )


def check_state(state: Any) -> None:
    """Raise where a metric's state has something that cannot be read again from a checkpoint.

    Raises:
        TypeError: it has.
    """
    if type(state) in (dict, OrderedDict):
        check_state([*state.keys(), *state.values()])
    elif type(state) in (list, tuple):
        for item in state:
            check_state(item)
    elif not (type(state) in _IN_STATES or isinstance(state, Tensor)):
        raise TypeError(
            "state_dict: expected numbers, texts, tensors, and dicts and lists of these, "
            f"got {described(state)}"
        )


_IN_STATES = (bool, int, float, str, bytes, type(None))


def _plain(tensor: Tensor) -> Tensor | None:
    """Return a tensor without its graph and class, or none where it has no real numbers."""
    if tensor.is_complex() or tensor.is_meta or tensor.is_quantized:
        return None
    if tensor.layout is not torch.strided:
        return None
    plain = tensor.detach().as_subclass(Tensor)
    return plain if type(plain) is Tensor else None


def _told(value: Any) -> str:
    if isinstance(value, Tensor):
        kind = "" if value.layout is torch.strided else f" and layout {value.layout}"
        return f"a tensor of {value.dtype} and shape {tuple(value.shape)} on {value.device}{kind}"
    return described(value)
