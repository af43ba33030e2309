"""The statistics of several layers as if they were one, for vectorized metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import torch
from torch import Tensor

from cmp_core.statistics.interface import LayerStatistics
from cmp_core.statistics.moments import InnerProduct


class StackedStatistics:
    """Answers like `LayerStatistics`, with a first dimension of layers.

    `hsic` and the others that take a second layer take as many layers at once, one by one.

    >>> from cmp_core import statistics_of
    >>> layers = statistics_of(torch.eye(3), 2 * torch.eye(3))
    >>> StackedStatistics(layers).variance()
    tensor([0.6667, 2.6667], dtype=torch.float64)
    """

    def __init__(self, layers: Sequence[LayerStatistics]) -> None:
        self._layers = layers
        self.layer = ", ".join(statistics.layer for statistics in layers)
        self.n, self.width = layers[0].n, layers[0].width

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # a copy has no layers yet
            raise AttributeError(name)
        answers = [getattr(layer, name) for layer in self._layers]
        return partial(_called, answers) if callable(answers[0]) else _stacked(answers)

    # What belongs to the samples is the same for all layers

    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`."""
        return self._layers[0].held_out_prior()

    def folds(self) -> Tensor:
        """Return `LayerStatistics.folds`."""
        return self._layers[0].folds()


def _called(methods: Sequence[Any], *args: Any, **options: Any) -> Any:
    """Return what each layer's method answers, stacked; of other layers, each is given its own."""

    def own(value: Any, i: int) -> Any:
        return value._layers[i] if isinstance(value, StackedStatistics) else value

    return _stacked(
        [
            method(*(own(x, i) for x in args), **{k: own(x, i) for k, x in options.items()})
            for i, method in enumerate(methods)
        ]
    )


def _stacked(answers: list[Any]) -> Any:
    if isinstance(answers[0], InnerProduct):
        n, *fields = zip(*map(attrs.astuple, answers), strict=True)
        return InnerProduct(n[0], *map(torch.stack, fields))
    return torch.stack(answers)
