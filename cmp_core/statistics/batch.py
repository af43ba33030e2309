"""The second moments of samples at hand: a batch, or the fixed subset of a split.

With fewer samples than units they follow from Gram matrices, otherwise from sums. Of few samples
all layers take one form, so that their matrices are stacked; of many each takes its own.
"""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, groupby

import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.arrays import Array, as_matrices, binary_scale, class_indices, precise
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.gram import GramRidge, Grams
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.interface import (
    EventStatistics,
    LayerStatistics,
    SecondMoments,
    cached,
)
from cmp_core.statistics.mixed import MixedMoments
from cmp_core.statistics.moments import (
    InnerProduct,
    centre_,
    centred,
    inner_products,
    log_det,
    require,
)
from cmp_core.statistics.sums import SplitSums, SumMoments

LARGEST_GRAM = 1024
"""Most samples whose Gram matrices are cached for all layers at once."""


def moments_at_hand(
    layers: Sequence[Layer],
    sample_ids: Tensor,
    labels: Tensor | None,
    num_classes: int,
    guards: Guards,
) -> SecondMoments:
    """Return the second moments of samples in the cheaper form.

    Args:
        layers: all layers, with activations (n, p).
        sample_ids, labels: (n,) each.
        num_classes: C.
        guards: see `StatisticsCache`.
    """
    widest = max(layer.activations.shape[1] for layer in layers)
    is_gram = sample_ids.shape[0] <= min(widest, LARGEST_GRAM)
    form = GramMoments if is_gram else SampleMoments
    return form(layers, Folds(sample_ids, labels, num_classes), guards)


class GramMoments(SecondMoments):
    """Second moments from Gram matrices, stacked: for fewer samples than units."""

    def __init__(self, layers: Sequence[Layer], folds: Folds, guards: Guards) -> None:
        widths = [layer.activations.shape[1] for layer in layers]
        super().__init__(len(folds.sample_ids), widths, folds, guards)
        self._layers, self._groups = layers, width_groups(layers)

    @cached
    def scales(self) -> Tensor:
        return torch.stack([binary_scale(layer.activations) for layer in self._layers])

    @cached
    def centred(self, group: range) -> Tensor:
        """Return the scaled activations minus their means, (l, n, p), of l layers of one width."""
        stacked = torch.stack([self._layers[i].activations for i in group])
        return centre_(stacked / self.scales()[group.start : group.stop, None, None])  # in float64

    def mean(self, layer: int) -> Tensor:
        require(self.n, 1)
        group = self._group_of(layer)
        return self.means(group)[layer - group.start]

    @cached
    def means(self, group: range) -> Tensor:
        """Return the means of l layers of one width, (l, p)."""
        rows = self.centred(group)
        first = torch.stack([self._layers[i].activations[0] for i in group]).to(rows.dtype)
        return first / self.scales()[group.start : group.stop, None] - rows[:, 0]

    def unit_variances(self, layer: int) -> Tensor:
        group = self._group_of(layer)
        return self.variances_of_units(group)[layer - group.start]

    @cached
    def variances_of_units(self, group: range) -> Tensor:
        """Return the variances of the units of l layers of one width, (l, p)."""
        return self.centred(group).square().mean(dim=1)

    def _group_of(self, layer: int) -> range:
        return next(group for group in self._groups if layer in group)

    @cached
    def grams(self) -> Grams:
        """Return the Gram matrices of all layers."""
        return Grams.of([self.centred(group) for group in self._groups])

    @cached
    def inner(self) -> InnerProduct:
        return self.grams().inner()

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return log_det(self.grams().matrices, scale, floor, self.widths)

    def scatter(self, layer: int) -> Tensor:
        return self.grams().matrices[layer]

    @cached
    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        return mean_log_kernel_density(self.grams().matrices, self.variance(), widths)

    def held_out_r2(self, layer: int, target: int, penalty: float) -> Tensor:
        if target != layer + 1:
            name = self._layers[target].name
            raise UsageError(f"held_out_r2 predicts the next layer, not {name}")
        return self._held_out_r2(penalty)[layer]

    @cached
    def _held_out_r2(self, penalty: float) -> Tensor:
        """Return R² of each layer but the last and the next one, (L-1,)."""
        totals = self.grams().lengths[1:].sum(dim=1)
        return 1 - self.ridge(penalty).squared_errors() / totals

    def held_out_scores(
        self, layer: int, activations: Tensor, sample_ids: Tensor, penalty: float
    ) -> Tensor:
        scores = self._held_out_scores(penalty)[layer]
        is_all = sample_ids is self.folds.sample_ids
        return scores if is_all else scores[self.folds.places(sample_ids)]

    @cached
    def _held_out_scores(self, penalty: float) -> Tensor:
        """Return the scores of all layers, (L, n, C)."""
        predictions = self.ridge(penalty).predictions(self.folds.targets)
        return torch.where(self.folds.has_classes, predictions, torch.nan)

    @cached
    def ridge(self, penalty: float) -> GramRidge:
        """Return the held-out ridge regressions on all layers."""
        require(self.n, FOLDS)
        return GramRidge.of(self.grams(), self.widths, self.folds.order, penalty)


class SampleMoments(MixedMoments):
    """Second moments of many samples, each layer in its own form."""

    def __init__(self, layers: Sequence[Layer], folds: Folds, guards: Guards) -> None:
        widths = {layer.name: layer.activations.shape[1] for layer in layers}
        super().__init__(len(folds.sample_ids), widths, {}, folds, guards)
        self._layers = layers

    @cached
    def inner(self) -> InnerProduct:
        dtype = precise(self.folds.sample_ids.device)
        return inner_products(
            [x.activations.to(dtype) / s for x, s in zip(self._layers, self.scales(), strict=True)]
        )

    @cached
    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        densities = []
        scaled = zip(self._layers, self.scales(), self.variance(), strict=True)
        for layer, scale, variance in scaled:
            rows = centred(layer.activations.to(scale.dtype) / scale)
            densities.append(mean_log_kernel_density((rows @ rows.T)[None], variance[None], widths))
        return torch.cat(densities)

    def gram_moments(self, *layers: str) -> GramMoments:
        chosen = [layer for layer in self._layers if layer.name in layers]
        # Those of a pair are handed to nobody.
        guards = self.guards if len(layers) == 1 else Guards()
        return GramMoments(chosen, self.folds, guards)

    @cached
    def sums(self, *wanted: str) -> SumMoments:
        sums = SplitSums(frozenset(wanted), self.folds)
        narrow = [layer for layer in self._layers if layer.name in self.narrow]
        sums.update(narrow, self.folds.sample_ids, self.folds.labels)
        return SumMoments(sums, self.guards)


def width_groups(layers: Sequence[Layer]) -> list[range]:
    """Return the positions of neighbouring layers of one width and type, which can be stacked."""
    kinds = [(layer.activations.shape[1], layer.activations.dtype) for layer in layers]
    lengths = [len(list(group)) for _, group in groupby(kinds)]
    return [range(stop - n, stop) for n, stop in zip(lengths, accumulate(lengths), strict=True)]


def mean_log_kernel_density(grams: Tensor, variances: Tensor, widths: Sequence[float]) -> Tensor:
    """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2w) of L layers, (L, widths).

    Args:
        grams: centred Gram matrices (L, n, n).
        variances: the unit of the widths, (L,).
        widths: w.
    """
    halves = grams.diagonal(dim1=1, dim2=2) / 2
    exponents = grams - halves[:, :, None]  # with the next line, -‖xᵢ-xⱼ‖² / 2
    exponents.sub_(halves[:, None, :]).clamp_(max=0).div_(variances.to(grams.dtype)[:, None, None])
    # A sample is at no distance from itself, so no sum over j can underflow.
    means = [(exponents / width).exp_().mean(dim=2).log().mean(dim=1) for width in widths]
    return torch.stack(means, dim=1).to(precise(grams.device))


# Arrays at hand


def statistics_of(
    *activations: Array, labels: Array | None = None, is_rescaled: bool = False
) -> list[LayerStatistics]:
    """Return the statistics of layers that are given as arrays (n, p), in their order.

    For plain functions and notebooks: NumPy or torch, sample ids 0 to n-1.

    Args:
        activations: (n, p) of each layer.
        labels: (n,) whole numbers.
        is_rescaled: as a metric sees them that declares the invariance `scale`: of activations
            divided by a power of two near their largest size, so that no product overflows.

    Raises:
        UsageError: an array is not (n, p), labels are none, or the numbers of samples differ.
        UndefinedError: activations are NaN or infinite.

    >>> (statistics,) = statistics_of(torch.eye(3))
    >>> statistics.eigenvalues()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    layers = [
        Layer(f"layer_{i}", i, "", tensor) for i, tensor in enumerate(as_matrices(*activations))
    ]
    known = None if labels is None else class_indices(labels, layers[0].activations)
    ids = torch.arange(len(layers[0].activations), device=layers[0].activations.device)
    num_classes = 0 if known is None or not len(known) else int(known.max()) + 1
    moments = partial(moments_at_hand, layers, ids, known, num_classes)
    statistics = EventStatistics(layers, ids, known, moments, fitted=None)
    return [statistics.of(layer.name, is_rescaled=is_rescaled) for layer in layers]
