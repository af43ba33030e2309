"""Second moments from sums over samples that come in chunks, and ridge fits to them."""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.arrays import binary_scale, precise
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.interface import SecondMoments, cached
from cmp_core.statistics.moments import (
    InnerProduct,
    Products,
    ShiftedSamples,
    log_det,
    pivot,
    require,
    ridge_lambda,
)

LABELS = ""
"""Stands for the one-hot labels where a layer's name is expected; no layer has this name."""


class SplitSums:
    """The sums of a split so far: a monoid under `merge`, exact for any chunks, order and shards.

    Memory is that of the sums, p² float64 numbers for a layer of p units and p q for a layer and
    the next, times five where folds are wanted; it does not grow with the samples. The sums are of
    activations divided by a scale of the layer, see `binary_scale`.

    Args:
        wanted: of `own`, `next`, `labels`, `folds`, see `rests_on`.
        folds: of the whole split.
    """

    def __init__(self, wanted: frozenset[str], folds: Folds) -> None:
        self._wanted, self.folds = wanted, folds
        self.device = folds.sample_ids.device
        self.widths: dict[str, int] = {}
        self.scales: dict[str, Tensor] = {}
        self._products: dict[tuple[str, str], dict[int, Products]] = {}
        self._pivots: dict[str, Tensor] = {}

    @property
    def has_folds(self) -> bool:
        """Whether there are sums for every fold by itself."""
        return "folds" in self._wanted

    def update(self, layers: Sequence[Layer], sample_ids: Tensor, labels: Tensor | None) -> None:
        """Take in a chunk.

        Args:
            layers: in order of depth, the reference first where there is one.
            sample_ids, labels: of the chunk.
        """
        self.widths |= {layer.name: layer.activations.shape[1] for layer in layers}
        if not (self._wanted and layers and sample_ids.shape[0]):
            return
        self._choose_scales_and_pivots(layers)
        pairs = list(self._pairs(layers))
        for fold, where in enumerate(self._by_fold(sample_ids)):
            samples = {
                x.name: ShiftedSamples.about(
                    self.scaled(x.name, x.activations[where]), self._pivots[x.name]
                )
                for x in layers
            }
            if labels is not None and "labels" in self._wanted:
                targets = self.folds.one_hot(labels[where])
                samples[LABELS] = ShiftedSamples.about(targets, self._pivots[LABELS])
            for x, y in pairs:
                known = self._products.setdefault((x, y), {})
                if fold in known:
                    known[fold].update(samples[x], samples[y])
                else:
                    known[fold] = Products.of_samples(samples[x], samples[y])

    def scaled(self, layer: str, activations: Tensor) -> Tensor:
        """Return a layer's activations divided by its scale, in float64 (float32 on MPS)."""
        return activations.to(precise(self.device)) / self.scales[layer]

    def _choose_scales_and_pivots(self, layers: Sequence[Layer]) -> None:
        """Take the first chunk's, one for all folds: their sums then add up as they are."""
        for layer in layers:
            if layer.name not in self._pivots:
                self.scales[layer.name] = binary_scale(layer.activations)
                self._pivots[layer.name] = pivot(self.scaled(layer.name, layer.activations))
        if LABELS not in self._pivots and self.folds.labels is not None:
            one = torch.ones((), dtype=precise(self.device), device=self.device)
            self.scales[LABELS] = one
            self._pivots[LABELS] = one.new_zeros(self.folds.width)

    def merge(self, other: SplitSums) -> SplitSums:
        """Return the sums of both sets of samples of one split; change neither side."""
        merged = SplitSums(self._wanted, self.folds)
        merged.widths = self.widths | other.widths
        merged.scales = other.scales | self.scales
        for name in merged.scales:
            pivots = (sums._pivot_for(name, merged.scales) for sums in (self, other))
            merged._pivots[name] = next(pivot for pivot in pivots if pivot is not None)
        for x, y in self._products | other._products:
            sides = [sums._rescaled(x, y, merged.scales) for sums in (self, other)]
            merged._products[x, y] = {
                fold: Products.sum([side[fold] for side in sides if side])
                for fold in sides[0] or sides[1]
            }
        return merged

    def _pivot_for(self, layer: str, scales: Mapping[str, Tensor]) -> Tensor | None:
        """Return a layer's pivot in another scale, or none where there is none."""
        if layer not in self._pivots:
            return None
        return self._pivots[layer] * (self.scales[layer] / scales[layer])

    def _rescaled(self, x: str, y: str, scales: Mapping[str, Tensor]) -> dict[int, Products]:
        """Return the products of two layers in other scales, by fold."""
        return {
            fold: products.rescaled(*(self.scales[z] / scales[z] for z in (x, y)))
            for fold, products in self._products.get((x, y), {}).items()
        }

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of which there are sums."""
        return list(self._products)

    def targets(self, layer: str) -> list[str]:
        """Return what there are products of a layer with, but for itself."""
        return [y for x, y in self._products if x == layer != y]

    def products(self, layer: str, other: str) -> list[Products]:
        """Return the products of two layers, for every fold where folds are wanted.

        Raises:
            UsageError: there are none of these two.
        """
        if (layer, other) not in self._products:
            raise no_sums(layer, other)
        by_fold = self._products[layer, other]
        return [by_fold[fold] for fold in sorted(by_fold)]

    def _by_fold(self, sample_ids: Tensor) -> list[Tensor]:
        """Return the positions of each fold's samples in a chunk."""
        if not self.has_folds:
            return [torch.arange(len(sample_ids), device=sample_ids.device)]
        fold = self.folds.of(sample_ids)
        sizes = fold.bincount(minlength=FOLDS).tolist()
        return list(torch.split(fold.argsort(stable=True), sizes))

    def _pairs(self, layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
        has_labels = self.folds.labels is not None
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            yield layer.name, layer.name
            if "labels" in self._wanted and has_labels:
                yield layer.name, LABELS
            if "next" not in self._wanted or following is None:
                continue
            if 0 <= layer.depth == following.depth - 1:  # else the layer between is not here
                yield layer.name, following.name


def no_sums(layer: str, other: str) -> UsageError:
    """Return the error about a pair of which there are no sums."""
    return UsageError(
        f"there are no sums over the split of {layer} and {other or 'the labels'}: it needs two "
        "neighbours, and a metric that names the statistic in its needs"
    )


# Ridge regression, each fold held out


@attrs.frozen(eq=False)
class RidgeFactors:
    """What ridge fits to some samples need of X: its mean (p,), the LU factors of X̃ᵀX̃ + λI."""

    x_mean: Tensor
    factors: Tensor
    pivots: Tensor

    @classmethod
    def of(cls, own: Products, lambda_: Tensor) -> RidgeFactors:
        """Prepare for fits to the samples of products of X with X, which are used up."""
        x_mean, matrix = own.x_mean, own.take_centred_cross()
        matrix.diagonal().add_(lambda_)
        factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)
        return cls(x_mean, factors, pivots)

    def fit(self, cross: Products) -> RidgeFit:
        """Return the fit to products of X with targets Y, which are used up."""
        weights = torch.linalg.lu_solve(self.factors, self.pivots, cross.take_centred_cross())
        return RidgeFit(self.x_mean, cross.y_mean, weights)


@attrs.frozen(eq=False)
class RidgeFit:
    """A linear map with an intercept: ŷ = ȳ + Wᵀ(x - x̄), with W (p, q)."""

    x_mean: Tensor
    y_mean: Tensor
    weights: Tensor

    @property
    def intercept(self) -> Tensor:
        """ȳ - Wᵀx̄, (q,)."""
        return self.y_mean - self.x_mean @ self.weights

    def squared_error(self, own: Products, cross: Products) -> Tensor:
        """Return Σ ‖y - ŷ‖² over samples known by their products of X with X, and X with Y.

        With x = δ + (x - x̄) and y = ε + (y - ȳ) counted from the pivots, the error of a sample is
        y - Wᵀx - c with c = ε - Wᵀδ. Expanded, Σ ‖y - Wᵀx - c‖² is
        Σ‖y‖² - 2 tr Wᵀ Σxyᵀ + tr Wᵀ Σxxᵀ W - 2 c·Σ(y - Wᵀx) + n ‖c‖².
        """
        w, n = self.weights, own.n
        c = (self.y_mean - cross.y_pivot) - (self.x_mean - cross.x_pivot) @ w
        about_pivots = torch.addmm(cross.cross, own.cross, w, beta=-2).mul_(w).sum()
        residual_sum = cross.y_sum - cross.x_sum @ w
        return cross.y_total + about_pivots - 2 * c @ residual_sum + n * c @ c


class SumMoments(SecondMoments):
    """Second moments from sums over samples; of pairs, those of neighbours alone."""

    def __init__(self, sums: SplitSums, guards: Guards) -> None:
        self._sums, self._names = sums, list(sums.widths)
        own = [sums.products(name, name) for name in self._names[:1]] if sums.pairs() else []
        n = sum(part.n for parts in own for part in parts)
        super().__init__(n, list(sums.widths.values()), sums.folds, guards)

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

    def held_out_r2(self, layer: int, target: int, penalty: float) -> Tensor:
        require(self.n, FOLDS)
        x, y = self._names[layer], self._names[target]
        _, errors = self._held_out(x, penalty)
        if y not in errors:
            raise UsageError(f"held_out_r2 predicts the next layer, not {y}")
        return 1 - errors[y] / self._total(x, y).y_scatter

    def held_out_scores(
        self, layer: int, activations: Tensor, sample_ids: Tensor, penalty: float
    ) -> Tensor:
        require(self.n, FOLDS)
        name = self._names[layer]
        fits, _ = self._held_out(name, penalty)
        weights = torch.stack([fit.weights for fit in fits], dim=1)  # (p, folds, C)
        intercepts = torch.stack([fit.intercept for fit in fits])
        by_fold = torch.tensordot(self._sums.scaled(name, activations), weights, dims=1)
        folds = self.folds.of(sample_ids)
        samples = torch.arange(len(folds), device=folds.device)
        scores = by_fold[samples, folds] + intercepts[folds]
        return torch.where(self.folds.has_classes, scores, torch.nan)

    @cached
    def _held_out(self, layer: str, penalty: float) -> tuple[list[RidgeFit], dict[str, Tensor]]:
        """Return each fold's fit of the labels to the others, and Σ ‖y - ŷ‖² of the next layer.

        Each factor serves all targets of its fold, and only one is in memory at a time.
        """
        if not self._sums.has_folds:
            raise UsageError("held-out statistics were not asked for: name them in the needs")
        total = self._total(layer, layer)
        lambda_ = ridge_lambda(total.y_scatter, self._sums.widths[layer], penalty)
        fits, errors = [], dict[str, Tensor]()
        for i, own in enumerate(self._sums.products(layer, layer)):
            factors = RidgeFactors.of(total - own, lambda_)
            for target in self._sums.targets(layer):
                cross = self._sums.products(layer, target)[i]
                fit = factors.fit(self._total(layer, target) - cross)
                if target == LABELS:
                    fits.append(fit)
                else:
                    errors[target] = errors.get(target, 0) + fit.squared_error(own, cross)
        return fits, errors

    @cached
    def _total(self, layer: str, other: str) -> Products:
        return Products.sum(self._sums.products(layer, other))
