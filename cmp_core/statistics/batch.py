"""The second moments of samples at hand: a batch, or the fixed subset of a split.

With fewer samples than units they follow from Gram matrices, otherwise from sums as over a split.
The form is chosen once for all layers of an event.
"""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, groupby

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import Array, as_tensor, as_whole_numbers, check_shapes, wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS, folds_of, stratified_fold_order
from cmp_core.statistics.gram import GramRidge, Grams
from cmp_core.statistics.interface import (
    EventStatistics,
    Guarded,
    LayerStatistics,
    SecondMoments,
    cached,
)
from cmp_core.statistics.moments import (
    InnerProduct,
    centred,
    inner_products,
    log_det,
    precise,
    require,
)
from cmp_core.statistics.split import SplitSums, SumMoments, one_hot, smoothed

LARGEST_GRAM = 1024
"""Most samples whose Gram matrices are cached for all layers at once."""


def moments_at_hand(
    layers: Sequence[Layer],
    sample_ids: Tensor,
    labels: Tensor | None,
    num_classes: int,
    guards: list[Guarded],
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
    return form(layers, sample_ids, labels, num_classes, guards)


class _AtHand(SecondMoments):
    """What both forms share: the samples, their centred activations, and their folds."""

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        num_classes: int,
        guards: list[Guarded],
    ) -> None:
        widths = [layer.activations.shape[1] for layer in layers]
        device = sample_ids.device
        super().__init__(sample_ids.shape[0], torch.tensor(widths, device=device), guards)
        self._layers, self._sample_ids = layers, sample_ids
        self._labels, self._num_classes = labels, num_classes
        self._groups = width_groups(layers)

    @cached
    def centred(self, group: range) -> Tensor:
        """Return the activations minus their means, (l, n, p), of l layers of one width."""
        return centred(torch.stack([wide(self._layers[i].activations) for i in group]))

    def mean(self, layer: int) -> Tensor:
        require(self.n, 1)
        group = self._group_of(layer)
        return self.means(group)[layer - group.start]

    @cached
    def means(self, group: range) -> Tensor:
        """Return the means of l layers of one width, (l, p)."""
        first = torch.stack([wide(self._layers[i].activations[0]) for i in group])
        return (first - self.centred(group)[:, 0]).to(precise(first.device))

    def unit_variances(self, layer: int) -> Tensor:
        group = self._group_of(layer)
        return self.variances_of_units(group)[layer - group.start]

    @cached
    def variances_of_units(self, group: range) -> Tensor:
        """Return the variances of the units of l layers of one width, (l, p)."""
        variances = self.centred(group).square().mean(dim=1)
        return variances.to(precise(variances.device))

    def _group_of(self, layer: int) -> range:
        return next(group for group in self._groups if layer in group)

    def folds(self, sample_ids: Tensor) -> Tensor:
        return folds_of(self.fold_order())

    @cached
    def fold_order(self) -> Tensor:
        """Return the order (n,) in which samples are assigned to folds."""
        return stratified_fold_order(self._sample_ids, self._labels)

    @cached
    def prior(self) -> Tensor:
        targets = self.targets()
        counts = targets.new_zeros(FOLDS, self._num_classes)
        counts.index_add_(0, self.folds(self._sample_ids), targets)
        return smoothed(counts.sum(dim=0) - counts)

    @cached
    def targets(self) -> Tensor:
        """Return the one-hot labels, (n, C)."""
        if self._labels is None:
            raise UndefinedError("there are no labels")
        return one_hot(self._labels, self._num_classes)


class GramMoments(_AtHand):
    """Second moments from Gram matrices, stacked: for fewer samples than units."""

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
        self, layer: int, activations: Tensor, folds: Tensor, penalty: float
    ) -> Tensor:
        return self._held_out_scores(penalty)[layer]

    @cached
    def _held_out_scores(self, penalty: float) -> Tensor:
        """Return the scores of all layers, (L, n, C)."""
        targets = self.targets()
        has_classes = targets.any(dim=0).sum() > 1
        return torch.where(has_classes, self.ridge(penalty).predictions(targets), torch.nan)

    @cached
    def ridge(self, penalty: float) -> GramRidge:
        """Return the held-out ridge regressions on all layers."""
        require(self.n, FOLDS)
        return GramRidge.of(self.grams(), self.widths, self.fold_order(), penalty)


class SampleMoments(_AtHand):
    """Second moments from sums over the samples: for more samples than units.

    The inner products of all pairs of layers are taken in the activations' own precision; what
    sums over a split would give, of neighbours alone, is in float64.
    """

    @cached
    def inner(self) -> InnerProduct:
        return inner_products([layer.activations for layer in self._layers])

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return self._summed("own").log_det(scale, floor)

    def scatter(self, layer: int) -> Tensor:
        return self._summed("own").scatter(layer)

    @cached
    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        densities = []
        for layer, variance in zip(self._layers, self.variance(), strict=True):
            rows = centred(wide(layer.activations))
            densities.append(mean_log_kernel_density((rows @ rows.T)[None], variance[None], widths))
        return torch.cat(densities)

    def held_out_r2(self, layer: int, target: int, penalty: float) -> Tensor:
        return self._summed("own", "next", "folds").held_out_r2(layer, target, penalty)

    def held_out_scores(
        self, layer: int, activations: Tensor, folds: Tensor, penalty: float
    ) -> Tensor:
        self.targets()  # raises where there are no labels
        sums = self._summed("own", "labels", "folds")
        return sums.held_out_scores(layer, activations, folds, penalty)

    @cached
    def _summed(self, *wanted: str) -> SumMoments:
        """Return the moments of the samples as those of a split."""
        sums = SplitSums(frozenset(wanted), self._sample_ids, self._labels, self._num_classes)
        sums.update(self._layers, self._sample_ids, self._labels)
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


def statistics_of(*activations: Array, labels: Array | None = None) -> list[LayerStatistics]:
    """Return the statistics of layers that are given as arrays (n, p), in their order.

    For plain functions and notebooks: NumPy or torch, sample ids 0 to n-1.

    Raises:
        UsageError: an array is not (n, p), or the numbers of samples differ.
        UndefinedError: activations are NaN or infinite.

    >>> (statistics,) = statistics_of(torch.eye(3))
    >>> statistics.eigenvalues()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    layers = [
        Layer(f"layer_{i}", i, "", as_tensor(activation))
        for i, activation in enumerate(activations)
    ]
    known = None if labels is None else as_whole_numbers(labels, "labels")
    check_shapes([layer.activations for layer in layers], known)
    for layer in layers:
        tensor = layer.activations
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            raise UndefinedError("the activations hold NaN or infinity")
    ids = torch.arange(len(layers[0].activations), device=layers[0].activations.device)
    num_classes = 0 if known is None or not len(known) else int(known.max()) + 1
    moments = partial(moments_at_hand, layers, ids, known, num_classes)
    return list(EventStatistics(layers, ids, moments, fitted=None).values())
