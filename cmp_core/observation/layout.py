"""Where units stand in what a module puts out: before the positions, or after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from torch import nn

_KINDS = (
    "Conv",
    "ConvTranspose",
    "BatchNorm",
    "InstanceNorm",
    "MaxPool",
    "AvgPool",
    "AdaptiveAvgPool",
    "AdaptiveMaxPool",
)
_CHANNELS_FIRST: Mapping[int, tuple[Any, ...]] = {
    places + 2: (
        nn.GroupNorm,
        nn.SyncBatchNorm,
        *(getattr(nn, f"{kind}{places}d") for kind in _KINDS),
    )
    for places in (1, 2, 3)
}
"""By the number of dimensions of an output: a two-dimensional convolution says nothing of the
tokens (n, t, d) that are made of its places."""

_ADAPTIVE = tuple(
    getattr(nn, f"Adaptive{kind}Pool{i}d") for kind in ("Avg", "Max") for i in (1, 2, 3)
)
"""Modules that tell of their own outputs alone: transformers have them behind their tokens."""

_CHANNELS_LAST = (nn.Linear, nn.RMSNorm, nn.Embedding)
_OF_TOKENS = (nn.MultiheadAttention, nn.RNNBase)
_UNITS = (
    "out_channels",
    "num_channels",
    "num_features",
    "out_features",
    "embedding_dim",
    "embed_dim",
)

Told = tuple[bool, int | None]
"""What a module tells of its outputs: whether they are channels-last, and their number of units."""


@attrs.frozen
class Layout:
    """Where units stand in the outputs of a module.

    Attributes:
        told: by the number of dimensions of an output, what modules tell, the nearest one first.
    """

    told: Mapping[int, tuple[Told, ...]] = attrs.field(factory=dict)

    def is_channels_last(self, shape: tuple[int, ...]) -> bool:
        """Return whether an output is (n, …, d) rather than (n, c, …).

        The nearest module whose number of units stands where it says counts. If there is none, two
        equal neighbours of four dimensions are places, as images mostly are square. Otherwise it is
        as the nearest module says; where none does, three dimensions are tokens.

        >>> Layout().is_channels_last((8, 7, 7, 96)), Layout().is_channels_last((8, 96, 7, 7))
        (True, False)
        """
        told = self.told.get(len(shape), ())
        for is_last, units in told:
            if units is None or units == shape[-1 if is_last else 1]:
                return is_last
        if len(shape) == 4 and (shape[1] == shape[2]) != (shape[2] == shape[3]):
            return shape[1] == shape[2]
        return told[0][0] if told else len(shape) == 3


def layouts_of(model: nn.Module, paths: Iterable[str]) -> dict[str, Layout]:
    """Return the layout of modules by their paths.

    A convolution or a linear map tells it itself. Of others (blocks, activations) the modules tell
    it that are registered up to their own end, the last one first.

    Args:
        model: not wrapped.
        paths: of `named_modules`.

    >>> model = nn.Sequential(nn.Sequential(nn.Conv1d(3, 7, 3), nn.ReLU()), nn.LSTM(5, 5))
    >>> found = layouts_of(model, ["0.1", "0", "1"])
    >>> [layout.is_channels_last((2, 7, 6)) for layout in found.values()]
    [False, False, True]
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    own = {name: _told(module) for name, module in modules.items()}
    others = [
        {} if isinstance(module, _ADAPTIVE) else own[name] for name, module in modules.items()
    ]
    names = list(modules)
    found = {}
    for path in paths:
        before = others[: _end(names, path)][::-1]
        told = {dims: [one[dims] for one in before if dims in one] for dims in _CHANNELS_FIRST}
        told |= {dims: [(is_last, None)] for dims, (is_last, _) in own[path].items()}
        found[path] = Layout({dims: tuple(dict.fromkeys(every)) for dims, every in told.items()})
    return found


def _end(names: list[str], path: str) -> int:
    """Return the place after the last module within that of a path."""
    end = names.index(path) + 1
    while end < len(names) and names[end].startswith(f"{path}."):
        end += 1
    return end


def _told(module: nn.Module) -> dict[int, Told]:
    """Return what a module tells, by the numbers of dimensions of which its class tells it."""
    shape = getattr(module, "normalized_shape", None)
    units = (
        shape[-1]
        if shape
        else next((getattr(module, name) for name in _UNITS if hasattr(module, name)), None)
    )
    answers = {dims: _is_channels_last(module, dims) for dims in _CHANNELS_FIRST}
    return {dims: (answer, units) for dims, answer in answers.items() if answer is not None}


def _is_channels_last(module: nn.Module, dims: int) -> bool | None:
    """Return whether outputs of a module are channels-last, None if its class does not tell."""
    if isinstance(told := getattr(module, "data_format", None), str):  # of Keras
        return told == "channels_last"
    order = getattr(module, "dims", None)  # of torchvision's Permute
    if isinstance(order, (list, tuple)) and list(order) in ([0, 2, 3, 1], [0, 3, 1, 2]):
        return order[1] == 2 if dims == 4 else None
    if isinstance(module, _CHANNELS_FIRST[dims]):
        return False
    # Subclasses, such as torchvision's LayerNorm2d, normalize channels that stand elsewhere, and
    # several dimensions hold positions too.
    is_last_norm = type(module) is nn.LayerNorm and len(module.normalized_shape) == 1
    if is_last_norm or isinstance(module, _CHANNELS_LAST):
        return True
    return True if dims == 3 and isinstance(module, _OF_TOKENS) else None
