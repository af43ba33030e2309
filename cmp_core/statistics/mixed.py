"""Second moments of layers each of which takes the cheaper form: Gram matrices or sums."""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from cmp_core.layers.arrays import precise
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.interface import SecondMoments, cached


class MixedMoments(SecondMoments):
    """Layers with at least as many units as there are samples from Gram matrices, others from sums.

    Of n samples of p units a Gram matrix takes n² numbers, and the samples themselves n p; sums
    take p².

    Args:
        n: number of samples.
        widths: number of units of each layer, by name.
        left_out: layers of which there is nothing, with the reason.
        folds, guards: see `SecondMoments`.
    """

    def __init__(
        self,
        n: int,
        widths: Mapping[str, int],
        left_out: Mapping[str, str],
        folds: Folds,
        guards: Guards,
    ) -> None:
        super().__init__(n, list(widths.values()), folds, guards)
        self.names = tuple(widths)
        measured = [name for name in self.names if name not in left_out]
        self.wide = [name for name in measured if is_wide(n, widths[name])]
        self.narrow = [name for name in measured if name not in self.wide]

    @abstractmethod
    def gram_moments(self, *layers: str) -> SecondMoments:
        """Return the second moments of some layers, from Gram matrices."""

    @abstractmethod
    def sums(self, *wanted: str) -> SecondMoments:
        """Return the second moments of the narrow layers, from sums, see `rests_on`."""

    @cached
    def scales(self) -> Tensor:
        return self._gathered(lambda form, _: form.scales())

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return self._gathered(lambda form, layers: form.log_det(scale[layers], floor[layers]))

    def scatter(self, layer: int) -> Tensor:
        form, place = self._form(layer, "own")
        return form.scatter(place)

    def mean(self, layer: int) -> Tensor:
        form, place = self._form(layer, "own")
        return form.mean(place)

    def unit_variances(self, layer: int) -> Tensor:
        form, place = self._form(layer, "own")
        return form.unit_variances(place)

    def held_out_scores(
        self, layer: int, activations: Tensor, sample_ids: Tensor, penalty: float
    ) -> Tensor:
        form, place = self._form(layer, "own", "labels", "folds")
        return form.held_out_scores(place, activations, sample_ids, penalty)

    def held_out_r2(self, layer: int, target: int, penalty: float) -> Tensor:
        names = self.names[layer], self.names[target]
        if any(name in self.wide for name in names):
            return self.gram_moments(*names).held_out_r2(0, 1, penalty)
        first, second = (self.narrow.index(name) for name in names)
        return self.sums("own", "next", "folds").held_out_r2(first, second, penalty)

    def _form(self, layer: int, *wanted: str) -> tuple[SecondMoments, int]:
        """Return the second moments of a layer, and which one it is in them."""
        name = self.names[layer]
        if name in self.wide:
            return self._alone(name), 0
        return self.sums(*wanted), self.narrow.index(name)

    @cached
    def _alone(self, layer: str) -> SecondMoments:
        """Return the second moments of a wide layer."""
        return self.gram_moments(layer)

    def _forms(self) -> Iterator[tuple[SecondMoments, list[int]]]:
        """Yield second moments and the layers that they are of."""
        if self.narrow:
            yield self.sums("own"), [self.names.index(name) for name in self.narrow]
        for name in self.wide:
            yield self._alone(name), [self.names.index(name)]

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
