"""Second moments from sums over samples that have come in chunks."""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError
from cmp_core.layers.arrays import precise
from cmp_core.statistics.cache import cached
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.moments import (
    InnerProduct,
    Products,
    between_classes,
    log_det,
    per_sample_within,
    require,
)
from cmp_core.statistics.second_moments import SecondMoments
from cmp_core.statistics.sums import LABELS, SplitSums, no_sums


class SumMoments(SecondMoments):
    """Second moments from sums over samples; of pairs, those of neighbours alone."""

    def __init__(self, sums: SplitSums, n: int, guards: Guards) -> None:
        super().__init__(n, list(sums.widths.values()), sums.device, guards)
        self._sums, self._names = sums, list(sums.widths)

    @cached
    def scales(self) -> Tensor:
        return torch.stack([self._sums.scales[name] for name in self._names])

    @cached
    def inner(self) -> InnerProduct:
        require(self.n, 1)
        size = len(self._names)
        dtype = precise(self.widths.device)
        squares = torch.full((size, size), torch.nan, dtype=dtype, device=self.widths.device)
        lengths, totals = squares.clone(), squares[0].clone()
        for x, y in self._sums.pairs():
            if y != LABELS:
                i, j, pair = self._names.index(x), self._names.index(y), self._total(x, y).inner()
                squares[i, j] = squares[j, i] = pair.squares
                lengths[i, j] = lengths[j, i] = pair.lengths
                totals[i] = pair.x_total
        return InnerProduct(self.n, squares, lengths, totals[:, None], totals[None, :])

    def require_pair(self, first: int, second: int) -> None:
        x, y = self._names[first], self._names[second]
        if (x, y) not in self._sums.pairs() and (y, x) not in self._sums.pairs():
            raise no_sums(x, y)

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return torch.stack(
            [
                log_det(self.scatter(i), scale[i], floor[i], self._sums.widths[name])
                for i, name in enumerate(self._names)
            ]
        )

    @cached
    def within_class_variance(self) -> Tensor:
        if self._sums.class_counts is None:
            raise UndefinedError("there are no labels")
        return torch.stack([_within_classes(self._total(name, LABELS)) for name in self._names])

    @cached
    def scatter(self, layer: int) -> Tensor:
        require(self.n, 1)
        name = self._names[layer]
        return self._total(name, name).centred_cross()

    def mean(self, layer: int) -> Tensor:
        require(self.n, 1)
        name = self._names[layer]
        return self._total(name, name).x_mean

    def unit_variances(self, layer: int) -> Tensor:
        return self.scatter(layer).diagonal() / self.n

    @cached
    def _total(self, layer: str, other: str) -> Products:
        return self._sums.products(layer, other)


def _within_classes(products: Products) -> Tensor:
    """Return the variance within classes (0-d) from products of a layer with one-hot labels.

    The labels' pivot is 0: Σ y counts the samples of a class, Σ x yᵀ sums them from the pivot of x.
    """
    counts = products.y_sum
    between = between_classes(products.cross.T, counts)
    return per_sample_within(products.x_total - between, counts)


class SumMomentsWithout(SumMoments):
    """Second moments from sums over all samples but those of one part.

    Little is kept in memory: there is one of these for every part.
    """

    def __init__(self, whole: SumMoments, by_part: SplitSums, part: int, n: int) -> None:
        super().__init__(whole._sums, n, Guards())
        self._whole, self._by_part, self._part = whole, by_part, part

    def scatter(self, layer: int) -> Tensor:
        require(self.n, 1)
        name = self._names[layer]
        return self._total(name, name).centred_cross()

    def _total(self, layer: str, other: str) -> Products:
        total = self._whole._total(layer, other)
        if not self._by_part.has_part(layer, other, self._part):
            return total
        return total - self._by_part.products(layer, other, [self._part])
