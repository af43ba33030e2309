"""Shared statistics of a whole split, from the sums over its chunks."""

# ruff: noqa: D102 (LayerStatistics says what the methods return)

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.interface import Keeper, LayerStatistics, kept
from cmp_core.statistics.moments import InnerProduct, Products, require
from cmp_core.statistics.ridge import PENALTY, Fit, Training, strength
from cmp_core.statistics.split_sums import LABELS, SplitSums, smoothed


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
        counts = torch.stack([fold.y_sum for fold in self.sums.products(next(iter(self)), LABELS)])
        return smoothed(counts.sum(dim=0) - counts)


class SumStatistics(LayerStatistics):
    """Statistics of one layer over a split; there are no samples any more."""

    def __init__(self, split: SplitStatistics, layer: str, width: int) -> None:
        parts = split.sums.products(layer, layer) if (layer, layer) in split.sums else []
        n = sum(part.n for part in parts)
        super().__init__(layer, n, width, split.guards)
        self._sums = split.sums

    def inner(self, other: LayerStatistics) -> InnerProduct:
        require(self.n, 1)
        if (self.layer, other.layer) in self._sums:
            return self._inner(other.layer)
        assert isinstance(other, SumStatistics)  # a layer of the same split
        return other._inner(self.layer).transposed

    @kept
    def scatter(self) -> Tensor:
        require(self.n, 1)
        return self._total(self.layer).centred_cross()

    def mean(self) -> Tensor:
        require(self.n, 1)
        return self._total(self.layer).x_mean

    def unit_variances(self) -> Tensor:
        return self.scatter().diagonal() / self.n

    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        require(self.n, FOLDS)
        _, errors = self._held_out(penalty)
        if target.layer not in errors:
            raise UsageError(f"held_out_r2 predicts the next layer, not {target.layer}")
        # ȳ is the mean over all samples, so a constant prediction reads a little below 0.
        return 1 - errors[target.layer] / self._total(target.layer).y_scatter

    def predict(self, activations: Tensor, folds: Tensor, penalty: float) -> Tensor:
        """Return `held_out_scores` (n, C) of samples of the split.

        Args:
            activations: (n, p).
            folds: (n,), the folds in which the samples are held out.
            penalty: relative to the mean eigenvalue.
        """
        require(self.n, FOLDS)
        fits, _ = self._held_out(penalty)
        weights = torch.stack([fit.weights for fit in fits], dim=1)  # (p, folds, C)
        intercepts = torch.stack([fit.intercept for fit in fits])
        by_fold = torch.tensordot(activations.to(weights.dtype), weights, dims=1)
        samples = torch.arange(len(folds), device=folds.device)
        scores = by_fold[samples, folds] + intercepts[folds]
        has_classes = (self._total(LABELS).y_sum > 0).sum() > 1
        return torch.where(has_classes, scores, torch.nan)

    @kept
    def _held_out(self, penalty: float) -> tuple[list[Fit], dict[str, Tensor]]:
        """Return each fold's fit of the labels to the others, and Σ ‖y - ŷ‖² of the next layer.

        Each factor serves all targets of its fold, and only one is in memory at a time.
        """
        if not self._sums.has_folds:
            raise UsageError("held-out statistics were not asked for: name them in the needs")
        total = self._total(self.layer)
        lambda_ = strength(total.y_scatter, self.width, penalty)
        fits, errors = [], dict[str, Tensor]()
        for i, own in enumerate(self._sums.products(self.layer, self.layer)):
            training = Training.of(total - own, lambda_)
            for target in self._sums.targets(self.layer):
                cross = self._sums.products(self.layer, target)[i]
                fit = training.fit(self._total(target) - cross)
                if target == LABELS:
                    fits.append(fit)
                else:
                    errors[target] = errors.get(target, 0) + fit.squared_error(own, cross)
        return fits, errors

    @kept
    def _inner(self, other: str) -> InnerProduct:
        return self._total(other).inner()

    @kept
    def _total(self, other: str) -> Products:
        return Products.sum(self._sums.products(self.layer, other))
