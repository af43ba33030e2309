"""Linear fits of the labels, and of the next layer, to every layer: what scores a split.

They are made from sums over the fitting samples. Those are training samples, which are not scored,
or the samples of the split itself in five folds, of which each is scored by the fit to the others.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS, halves_of
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.least_squares import LeastSquares, Ridge, ridge_lambda
from cmp_core.statistics.moments import Products, require
from cmp_core.statistics.sums import LABELS, Parts, SplitSums

FitSource = Literal["training", "cross-validation"]


@attrs.frozen(eq=False)
class LinearMap:
    """ŷ = b + Wᵀx, with W (p, q) and b (q,), for x and y counted from pivots near their means."""

    offset: Tensor
    weights: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return ŷ (k, q) for x (k, p)."""
        return torch.addmm(self.offset, x, self.weights)


class Fitting:
    """Takes in fitting samples chunk by chunk.

    Args:
        targets: of `next` and `labels`, what is fitted.
        n: fitting samples in all chunks.
        classes: of the labels, or none where there are none.
        folds: in which the samples are held out, or none where they are not scored.
        device: where they are.
        left_out: layers that are not fitted to, with the reason.
        penalty: see `LinearFits`.
    """

    def __init__(
        self,
        targets: frozenset[str],
        n: int,
        classes: Classes | None,
        folds: Folds | None,
        device: torch.device,
        left_out: Mapping[str, str] | None = None,
        penalty: float = 0.0,
    ) -> None:
        self._n, self._classes, self._folds = n, classes, folds
        self._left_out, self._penalty = left_out or {}, penalty
        parts = Parts(2, halves_of) if folds is None else Parts(2 * FOLDS, self._halves_of_folds)
        self._sums = SplitSums(targets | {"own"}, device, classes, parts)

    def update(self, layers: Sequence[Layer], sample_ids: Tensor, labels: Tensor | None) -> None:
        """Take in a chunk: layers in order of depth, ids and labels (k,)."""
        kept = [layer for layer in layers if layer.name not in self._left_out]
        self._sums.update(kept, sample_ids, labels)

    def merge(self, other: Fitting) -> Fitting:
        """Return what both have taken in, of different samples; change neither side."""
        merged = copy.copy(self)
        merged._sums = self._sums.merge(other._sums)
        return merged

    def fits(self) -> LinearFits:
        """Return the fits to all chunks."""
        return LinearFits(
            self._sums, self._n, self._classes, self._folds, self._left_out, self._penalty
        )

    def _halves_of_folds(self, sample_ids: Tensor) -> Tensor:
        assert self._folds is not None
        return 2 * self._folds.of(sample_ids) + halves_of(sample_ids)


class LinearFits:
    """Fits to all fitting samples, or to a half of them.

    By least squares: what a layer gives is then the same after any invertible affine map of its
    units. With a penalty, by ridge regression: the penalty is λ ‖W‖² with λ = penalty * (mean
    eigenvalue of the scatter of all fitting samples), in which there is no label.

    Args:
        sums: over the fitting samples, for the halves of all or of every fold by themselves.
        n: fitting samples in all parts.
        classes: of the labels, or none where there are no labels.
        folds: in which samples are held out, or none where they are not scored at all.
        left_out: layers that are not fitted to, with the reason.
        penalty: 0 for least squares.
        is_half: whether the fits are to the first half.
    """

    def __init__(
        self,
        sums: SplitSums,
        n: int,
        classes: Classes | None,
        folds: Folds | None = None,
        left_out: Mapping[str, str] | None = None,
        penalty: float = 0.0,
        *,
        is_half: bool = False,
    ) -> None:
        self._sums, self._all, self.classes, self._folds = sums, n, classes, folds
        self._left_out, self._penalty, self._is_half = left_out or {}, penalty, is_half
        self._maps: dict[str, list[dict[str, LinearMap]]] = {}
        self._means: dict[str, Tensor] = {}

    @property
    def source(self) -> FitSource:
        """Which samples the fits are to."""
        return "training" if self._folds is None else "cross-validation"

    @property
    def n(self) -> int:
        """Number of samples that a fit rests on; of several folds, the fewest."""
        return self._all if self._folds is None else fewest(self._all)

    @property
    def scales(self) -> Mapping[str, Tensor]:
        """The power of two by which the activations of each layer are divided."""
        return self._sums.scales

    @cached_property
    def half(self) -> LinearFits:
        """The fits to half of the samples: where they score alike, the samples are enough."""
        return LinearFits(
            self._sums,
            self._all,
            self.classes,
            self._folds,
            self._left_out,
            self._penalty,
            is_half=True,
        )

    def shifted(self, layer: str, activations: Tensor) -> Tensor:
        """Return activations (k, p) as the fits take them: in units of the scale, from a pivot."""
        self._require(layer)
        return self._sums.shifted(layer, activations)

    def scores(self, layer: str, shifted: Tensor, sample_ids: Tensor) -> Tensor:
        """Return the fitted one-hot labels of some samples, (k, K).

        NaN where there is nothing to fit: no unit varies, or all labels are of one class.

        Args:
            layer: name.
            shifted: (k, p), see `shifted`.
            sample_ids: (k,).
        """
        self._require(layer)
        counts = self._class_counts
        scores = self._applied(layer, LABELS, shifted, sample_ids)
        return torch.where((counts.sum(dim=0) > 0).sum() > 1, scores, torch.nan)

    def squared_errors(
        self, layer: str, target: str, shifted: Tensor, targets: Tensor, sample_ids: Tensor
    ) -> Tensor:
        """Return ‖y - ŷ‖² (k,) of predicting the next layer, in squares of its scale.

        Args:
            layer, target: names.
            shifted, targets: of both, (k, p) and (k, q), see `shifted`.
            sample_ids: (k,).
        """
        self._require(layer)
        self._require(target)
        if target not in self._sums.targets(layer):
            raise UsageError(f"a layer predicts the next one: {layer} does not predict {target}")
        errors = self._applied(layer, target, shifted, sample_ids).sub_(targets)
        return errors.square_().sum(dim=1)

    def deviations(self, layer: str, shifted: Tensor) -> Tensor:
        """Return `shifted` activations (k, p) less the mean of the fitting samples."""
        if layer not in self._means:
            self._require(layer)
            mean = self._sums.products(layer, layer).x_mean
            self._means[layer] = mean - self._sums.pivots[layer]
        return shifted - self._means[layer]

    def prior(self, sample_ids: Tensor) -> Tensor:
        """Return the class frequencies (k, K) of the fits that some samples are scored by."""
        assert self.classes is not None  # there are counts
        counts = torch.stack([self._class_counts[parts].sum(dim=0) for parts in self._fits])
        return self.classes.prior(counts)[self._fit_of(sample_ids)]

    @property
    def _class_counts(self) -> Tensor:
        if self._sums.class_counts is None:
            raise UndefinedError("there are no labels")
        return self._sums.class_counts

    @cached_property
    def _fits(self) -> list[list[int]]:
        """The parts of the samples that each fit is to, for every fold that is held out."""
        halves = (0,) if self._is_half else (0, 1)
        if self._folds is None:
            return [list(halves)]
        return [
            [2 * other + half for other in range(FOLDS) if other != fold for half in halves]
            for fold in range(FOLDS)
        ]

    def _fit_of(self, sample_ids: Tensor) -> Tensor:
        """Return by which fit each of some samples is scored, (k,)."""
        if self._folds is None:
            return torch.zeros_like(sample_ids)
        return self._folds.of(sample_ids)

    def _applied(self, layer: str, target: str, shifted: Tensor, sample_ids: Tensor) -> Tensor:
        """Return the fitted values (k, q) of some samples, counted from the target's pivot."""
        maps = [of_fit[target] for of_fit in self._maps_of(layer)]
        if len(maps) == 1:
            return maps[0](shifted)
        fit_of = self._fit_of(sample_ids)
        fitted = shifted.new_empty(len(shifted), len(maps[0].offset))
        for i, linear_map in enumerate(maps):
            where = (fit_of == i).nonzero()[:, 0]
            fitted[where] = linear_map(shifted[where])
        return fitted

    def _maps_of(self, layer: str) -> list[dict[str, LinearMap]]:
        """Return for every fit the maps of a layer to its targets.

        Only one decomposition is in memory at a time.
        """
        if layer not in self._maps:
            self._require(layer)
            self._maps[layer] = [self._mapped(layer, parts) for parts in self._fits]
        return self._maps[layer]

    def _mapped(self, layer: str, parts: list[int]) -> dict[str, LinearMap]:
        own = self._sums.products(layer, layer, parts)
        regression = self._regression(layer, own)
        maps = {}
        for target in self._sums.targets(layer):
            cross = self._sums.products(layer, target, parts)
            weights = regression.weights(cross.centred_cross())
            x_mean = own.x_mean - self._sums.pivots[layer]
            y_mean = cross.y_mean - self._sums.pivots[target]
            maps[target] = LinearMap(y_mean - x_mean @ weights, weights)
        return maps

    def _regression(self, layer: str, own: Products) -> LeastSquares | Ridge:
        scatter = own.centred_cross()
        whole = self._sums.products(layer, layer)
        if self._penalty:
            penalty = ridge_lambda(whole.y_scatter, len(scatter), self._penalty)
            return Ridge.of(scatter, penalty)
        found = LeastSquares.of(scatter, whole.cross.diagonal())
        if own.n < found.rank + 2:
            raise UndefinedError(too_few(layer, own.n, found.rank))
        return found

    def _require(self, layer: str) -> None:
        """Raise `UndefinedError` where a layer is not fitted to."""
        require(self._all, FOLDS if self._folds is not None else 1)
        if layer in self._left_out:
            raise UndefinedError(self._left_out[layer])


def fewest(n: int) -> int:
    """Return how many of n samples a fit in folds rests on, the fewest of them."""
    return n - -(-n // FOLDS)


def too_wide(widths: Mapping[str, int], n: int) -> dict[str, str]:
    """Return the layers of at least as many units as a fit has samples, with the reason."""
    return {name: too_few(name, n, width) for name, width in widths.items() if width + 2 > n}


def too_few(layer: str, n: int, units: int) -> str:
    """Return why there is no least-squares fit to n samples of as many units, or fewer."""
    return (
        f"too few fitting samples for least squares: {n:,} for the {units:,} units of {layer}; "
        "pool or select units, or use more samples"
    )
