"""Statistics of one layer that metrics share: computed when first asked for, then kept.

Sharing is by name: two metrics that read `statistics.log_q` of one event get one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.similarity import defined_cosine


@attrs.frozen(eq=False)
class Guarded:
    """A tensor that plugins may read but not write, with its version when it was handed out."""

    what: str
    tensor: Tensor
    version: int = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.tensor._version, takes_self=True)
    )

    @property
    def is_modified(self) -> bool:
        """Whether somebody has written into the tensor since."""
        return self.tensor._version != self.version


def _statistic(compute: Callable[[LayerStatistics], Tensor]) -> property:
    """Make a method a property that is computed once and kept under its name."""
    name = compute.__name__

    @wraps(compute)
    def get(self: LayerStatistics) -> Tensor:
        if name not in self._kept:
            self._kept[name] = Guarded(f"statistics.{name}", compute(self))
        return self._kept[name].tensor

    return property(get)


class LayerStatistics:
    """Shared statistics of a layer's activations (n, N), scores (n, C) and anchors (C, N).

    Half-precision tensors are widened to float32 first; float32 and float64 are kept.
    """

    def __init__(
        self, layer: str, activations: Tensor, scores: Tensor | None, anchors: Tensor | None
    ) -> None:
        self._layer = layer
        self._activations, self._scores, self._anchors = activations, scores, anchors
        self._kept: dict[str, Guarded] = {}

    @_statistic
    def peak(self) -> Tensor:
        """Largest absolute activation, 0-d: 0 for a dead layer.

        Not finite where an activation or a score is not.
        """
        peak = _largest(self._activations)
        return peak if self._scores is None else peak + 0 * _largest(self._scores)

    @_statistic
    def log_q(self) -> Tensor:
        """Log-probabilities log softmax(scores), (n, C), in nats."""
        if self._scores is None:
            raise UndefinedError(f"{self._layer} has no scores")
        return torch.log_softmax(wide(self._scores), dim=1)

    @_statistic
    def cosines(self) -> Tensor:
        """Cosine of every activation vector with every anchor, (n, C).

        NaN where one of the two is zero.
        """
        if self._anchors is None:
            raise UndefinedError(f"{self._layer} has no anchors")
        return defined_cosine(wide(self._activations), wide(self._anchors))

    def guarded(self) -> Iterator[Guarded]:
        """Yield what has been computed so far."""
        yield from self._kept.values()


def _largest(tensor: Tensor) -> Tensor:
    values = wide(tensor)
    return values.abs().amax() if values.numel() else values.new_zeros(())


def wide(tensor: Tensor) -> Tensor:
    """Return the tensor in at least float32.

    >>> wide(torch.zeros(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
