"""Second moments of layers each of which takes the cheaper form: Gram matrices or sums."""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from cmp_core.layers.arrays import precise
from cmp_core.statistics.cache import cached
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.moments import InnerProduct
from cmp_core.statistics.second_moments import SampleMoments, SecondMoments


class MixedMoments(SecondMoments):
    """Layers with at least as many units as there are samples from Gram matrices, others from sums.

    Of n samples of p units a Gram matrix takes n² numbers, and the samples themselves n p; sums
    take p².

    Args:
        n: number of samples.
        widths: number of units of each layer, by name.
        left_out: layers of which there is nothing, with the reason.
        device, guards: see `SecondMoments`.
    """

    def __init__(
        self,
        n: int,
        widths: Mapping[str, int],
        left_out: Mapping[str, str],
        device: torch.device,
        guards: Guards,
    ) -> None:
        super().__init__(n, list(widths.values()), device, guards)
        self.names = tuple(widths)
        measured = [name for name in self.names if name not in left_out]
        self.wide = [name for name in measured if is_wide(n, widths[name])]
        self.narrow = [name for name in measured if name not in self.wide]

    @abstractmethod
    def gram_moments(self, *layers: str) -> SampleMoments:
        """Return the second moments of some layers, from Gram matrices."""

    @abstractmethod
    def sums(self) -> SecondMoments:
        """Return the second moments of the narrow layers, from sums."""

    @cached
    def scales(self) -> Tensor:
        return self._gathered(lambda form, _: form.scales())

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return self._gathered(lambda form, layers: form.log_det(scale[layers], floor[layers]))

    @cached
    def own(self) -> InnerProduct:  # of the forms, as what else is said of single layers
        squares = self._gathered(lambda form, _: form.own().squares)
        lengths = self._gathered(lambda form, _: form.own().lengths)
        totals = self._gathered(lambda form, _: form.own().x_total)
        return InnerProduct(self.n, squares, lengths, totals, totals)

    def within_class_variance(self) -> Tensor:
        return self._gathered(lambda form, _: form.within_class_variance())

    def scatter(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.scatter(place)

    def mean(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.mean(place)

    def unit_variances(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.unit_variances(place)

    def _form(self, layer: int) -> tuple[SecondMoments, int]:
        """Return the second moments of a layer, and which one it is in them."""
        name = self.names[layer]
        if name in self.wide:
            return self.alone(name), 0
        return self.sums(), self.narrow.index(name)

    @cached
    def alone(self, layer: str) -> SampleMoments:
        """Return the second moments of a wide layer."""
        return self.gram_moments(layer)

    def _forms(self) -> Iterator[tuple[SecondMoments, list[int]]]:
        """Yield second moments and the layers that they are of."""
        if self.narrow:
            yield self.sums(), [self.names.index(name) for name in self.narrow]
        for name in self.wide:
            yield self.alone(name), [self.names.index(name)]

    def _gathered(self, values: Callable[[SecondMoments, list[int]], Tensor]) -> Tensor:
        """Return the values (L,) of all layers, given those of a form; NaN where left out."""
        device = self.widths.device
        gathered = torch.full((len(self.names),), torch.nan, dtype=precise(device), device=device)
        for form, layers in self._forms():
            gathered[layers] = values(form, layers)
        return gathered


def is_wide(n: int, width: int) -> bool:
    """Return whether a layer's Gram matrix of n samples is the cheaper form."""
    return n <= width
