"""Shared statistics of a whole split, from the sums over its chunks."""

# ruff: noqa: D102 (LayerStatistics says what the methods return)

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from cmp_core.ridge import PENALTY, Fit, Training, held_out_r2, trainings
from cmp_core.sampling import FOLDS
from cmp_core.second_moments import InnerProduct, Products, require
from cmp_core.split_sums import LABELS, SplitSums
from cmp_core.statistics import Keeper, LayerStatistics, kept


class SplitStatistics(Keeper, Mapping[str, "SumStatistics"]):
    """The statistics of a split's layers by name, once all of its chunks are in the sums."""

    def __init__(self, sums: SplitSums) -> None:
        super().__init__()
        self.sums = sums
        self._statistics = {
            name: SumStatistics(self, name, width) for name, width in sums.widths.items()
        }

    def __getitem__(self, layer: str) -> SumStatistics:
        return self._statistics[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statistics)

    def __len__(self) -> int:
        return len(self._statistics)

    @kept
    def prior(self) -> Tensor:
        """Return the class frequencies in all folds but one, for each, (5, C)."""
        labels = self.sums.products(next(iter(self)), LABELS)
        total = Products.sum(labels)
        return torch.stack([(total - fold).y_mean for fold in labels])


class SumStatistics(LayerStatistics):
    """Statistics of one layer over a split; there are no samples any more."""

    def __init__(self, split: SplitStatistics, layer: str, width: int) -> None:
        n = sum(part.n for part in split.sums.products(layer, layer))
        super().__init__(layer, n, width, split.guards)
        self._split, self._sums = split, split.sums

    def inner(self, other: LayerStatistics) -> InnerProduct:
        if (other.layer, self.layer) in self._sums and other.layer != self.layer:
            return self._inner(other.layer, self.layer).transposed
        return self._inner(self.layer, other.layer)

    @kept
    def scatter(self) -> Tensor:
        require(self.n, 1)
        return Products.sum(self._sums.products(self.layer, self.layer)).centred_cross()

    @kept
    def mean(self) -> Tensor:
        require(self.n, 1)
        return Products.sum(self._sums.products(self.layer, self.layer)).x_mean

    def unit_variances(self) -> Tensor:
        return self.scatter().diagonal() / self.n

    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        require(self.n, FOLDS)
        own, cross = (self._sums.products(self.layer, other.layer) for other in (self, target))
        return held_out_r2(self._trainings(penalty), own, cross)

    def predict(self, activations: Tensor, folds: Tensor, penalty: float) -> Tensor:
        """Return `held_out_scores` (n, C) of samples of the split.

        Args:
            activations: (n, p).
            folds: (n,), the folds in which the samples are held out.
            penalty: relative to the mean eigenvalue.
        """
        fits = self._classifiers(penalty)
        weights = torch.stack([fit.weights for fit in fits], dim=1)  # (p, folds, C)
        intercepts = torch.stack([fit.intercept for fit in fits])
        by_fold = torch.tensordot(activations.to(weights.dtype), weights, dims=1)
        samples = torch.arange(len(folds), device=folds.device)
        scores = by_fold[samples, folds] + intercepts[folds]
        has_classes = (self._split.prior() > 0).any(dim=0).sum() > 1
        return torch.where(has_classes, scores, torch.nan)

    @kept
    def _classifiers(self, penalty: float) -> list[Fit]:
        require(self.n, FOLDS)
        labels = self._sums.products(self.layer, LABELS)
        total = Products.sum(labels)
        return [
            training.fit(total - fold)
            for training, fold in zip(self._trainings(penalty), labels, strict=True)
        ]

    @kept
    def _trainings(self, penalty: float) -> list[Training]:
        return trainings(self._sums.products(self.layer, self.layer), penalty)

    @kept
    def _inner(self, layer: str, other: str) -> InnerProduct:
        return Products.sum(self._sums.products(layer, other)).inner()
