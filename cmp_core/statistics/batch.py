"""Shared statistics of samples at hand: those of a batch, a chunk or a subset of a split."""

# ruff: noqa: D102 (LayerStatistics says what the methods return)

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, groupby

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import Array, as_tensor, wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS, deal, folds
from cmp_core.layers.similarity import defined_cosine
from cmp_core.statistics.interface import Keeper, LayerStatistics, kept
from cmp_core.statistics.moments import (
    Grams,
    InnerProduct,
    centred,
    inner_products,
    log_det,
    precise,
    require,
)
from cmp_core.statistics.ridge import PENALTY, HeldOut
from cmp_core.statistics.split import SplitStatistics
from cmp_core.statistics.split_sums import SplitSums, one_hot, smoothed

LARGEST_GRAM = 1024
"""Most samples whose Gram matrices are kept for all layers at once."""


class EventStatistics(Mapping[str, "SampleStatistics"]):
    """The statistics of an event's layers by name.

    Args:
        layers: all layers, the reference first where there is one.
        sample_ids, labels, num_classes: of the event.
        is_chunk: whether the samples are a piece of a split, which alone has no second moments.
        fitted: the statistics of the whole split, in the second reading of its chunks.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        num_classes: int,
        is_chunk: bool,
        fitted: SplitStatistics | None,
    ) -> None:
        joint = JointStatistics(layers, sample_ids, labels, num_classes, is_chunk, fitted)
        self.guards = joint.guards
        self._statistics = {
            layer.name: SampleStatistics(joint, layer, i) for i, layer in enumerate(layers)
        }

    def __getitem__(self, layer: str) -> SampleStatistics:
        return self._statistics[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statistics)

    def __len__(self) -> int:
        return len(self._statistics)


class JointStatistics(Keeper):
    """What the layers of an event share, each answer for all layers at once.

    It knows nothing of the statistics of single layers, which know it: so an event is freed with
    the last reference to it, and does not wait for a collector of cycles.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        num_classes: int,
        is_chunk: bool,
        fitted: SplitStatistics | None,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.sample_ids, self.labels, self.num_classes = sample_ids, labels, num_classes
        self.is_chunk, self.fitted = is_chunk, fitted
        self.n = sample_ids.shape[0]
        self.runs = _runs(layers)

    @cached_property
    def has_grams(self) -> bool:
        """Whether Gram matrices are the cheaper form: fewer samples than units."""
        widest = max(layer.activations.shape[1] for layer in self.layers)
        return self.n <= min(widest, LARGEST_GRAM)

    @cached_property
    def widths(self) -> Tensor:
        """Number of units of every layer, (L,)."""
        widths = [layer.activations.shape[1] for layer in self.layers]
        return torch.tensor(widths, device=self.sample_ids.device)

    @kept
    def centred(self, run: range) -> Tensor:
        """Return the activations minus their means, (l, n, p), of l layers of one width."""
        self.refuse_chunk()
        return centred(torch.stack([wide(self.layers[i].activations) for i in run]))

    @kept
    def mean(self, run: range) -> Tensor:
        """Return `LayerStatistics.mean`, (l, p), of layers of one width."""
        require(self.n, 1)
        first = torch.stack([wide(self.layers[i].activations[0]) for i in run])
        return (first - self.centred(run)[:, 0]).to(precise(first.device))

    @kept
    def unit_variances(self, run: range) -> Tensor:
        """Return `LayerStatistics.unit_variances`, (l, p), of layers of one width."""
        variances = self.centred(run).square().mean(dim=1)
        return variances.to(precise(variances.device))

    @kept
    def grams(self) -> Grams:
        """Return the Gram matrices of all layers."""
        return Grams.of([self.centred(run) for run in self.runs])

    @kept
    def inner(self) -> InnerProduct:
        """Return the inner products of all pairs of layers."""
        self.refuse_chunk()
        if self.has_grams:
            return self.grams().inner()
        return inner_products([wide(layer.activations) for layer in self.layers])

    @kept
    def hsic(self, debiased: bool) -> Tensor:
        """Return `LayerStatistics.hsic` of all pairs of layers, (L, L)."""
        return self.inner().hsic(debiased)

    @kept
    def squared_trace(self, debiased: bool) -> Tensor:
        """Return `LayerStatistics.squared_trace` of all layers, (L,)."""
        return self.inner().own.squared_trace(debiased)

    @kept
    def variance(self) -> Tensor:
        """Return `LayerStatistics.variance` of all layers, (L,)."""
        require(self.n, 1)
        return self.inner().own.x_total / self.n

    @kept
    def shrinkage(self) -> Tensor:
        """Return `LayerStatistics.shrinkage` of all layers, (L,)."""
        return self.inner().own.shrinkage(self.widths)

    @kept
    def shrunk_log_det(self) -> Tensor:
        """Return `LayerStatistics.shrunk_log_det` of all layers, (L,)."""
        delta, mean = self.shrinkage(), self.variance() / self.widths
        return log_det(self.grams().matrices, (1 - delta) / self.n, delta * mean, self.widths)

    @kept
    def channel_log_det(self, snr: float) -> Tensor:
        """Return `LayerStatistics.channel_log_det` of all layers, (L,)."""
        scale = snr / (self.variance() * self.n)
        return log_det(self.grams().matrices, scale, torch.ones_like(scale), self.widths)

    @kept
    def closeness(self, *widths: float) -> Tensor:
        """Return `LayerStatistics.closeness` of all layers, (L, widths)."""
        return closeness(self.grams().matrices, self.variance(), widths)

    @kept
    def as_split(self, *wanted: str) -> SplitStatistics:
        """Return the statistics of the samples as a split: for more samples than units."""
        self.refuse_chunk()
        sums = SplitSums(frozenset(wanted), self.sample_ids, self.labels, self.num_classes)
        sums.update(self.layers, self.sample_ids, self.labels)
        return SplitStatistics(sums)

    @kept
    def ridge(self, penalty: float) -> HeldOut:
        """Return the held-out ridge regressions on all layers."""
        require(self.n, FOLDS)
        return HeldOut.of(self.grams(), self.widths, self.order(), penalty)

    @kept
    def order(self) -> Tensor:
        """Return the order (n,) in which samples are dealt to the folds."""
        self.refuse_chunk()
        return deal(self.sample_ids, self.labels)

    @kept
    def one_hot(self) -> Tensor:
        """Return the labels as 0 and 1, (n, C)."""
        return one_hot(self.known_labels(), self.num_classes)

    @kept
    def held_out_scores(self, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of all layers, (L, n, C)."""
        targets = self.one_hot()
        has_classes = targets.any(dim=0).sum() > 1
        return torch.where(has_classes, self.ridge(penalty).predictions(targets), torch.nan)

    @kept
    def held_out_r2(self, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_r2` of each layer but the last and its next, (L-1,)."""
        totals = self.grams().lengths[1:].sum(dim=1)
        return 1 - self.ridge(penalty).squared_errors() / totals

    @kept
    def folds(self) -> Tensor:
        """Return the fold (n,) of every sample."""
        if self.fitted is not None:
            return self.fitted.sums.folds_of(self.sample_ids)
        return folds(self.order())

    @kept
    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`."""
        if self.fitted is not None:
            return self.fitted.prior()[self.folds()]
        counts = self.one_hot().new_zeros(FOLDS, self.num_classes)
        counts.index_add_(0, self.folds(), self.one_hot())
        return smoothed(counts.sum(dim=0) - counts)[self.folds()]

    def known_labels(self) -> Tensor:
        """Return the labels; raise `UndefinedError` where there are none."""
        if self.labels is None:
            raise UndefinedError("there are no labels")
        return self.labels

    def refuse_chunk(self) -> None:
        """Raise where the samples are a piece of a split, whose statistics would mean nothing."""
        if self.is_chunk:
            raise UsageError(
                "a statistic of all samples means nothing for one chunk of a split: a function "
                "that names it in its needs, such as needs=('statistics.variance',), and is not "
                "per_sample gets it over the whole split"
            )


class SampleStatistics(LayerStatistics):
    """Statistics of a layer's activations (n, N), scores (n, C) and anchors (C, N).

    Half-precision tensors are widened to float32 first; float32 and float64 are kept.
    """

    def __init__(self, joint: JointStatistics, layer: Layer, position: int) -> None:
        super().__init__(layer.name, joint.n, layer.activations.shape[1], joint.guards)
        self._joint, self._position = joint, position
        self._run = next(run for run in joint.runs if position in run)
        self._row = position - self._run.start
        self.activations = layer.activations
        self._layer = layer

    @property
    @kept
    def peak(self) -> Tensor:
        peak = _largest(self.activations)
        scores = self._layer.scores
        return peak if scores is None else peak + 0 * _largest(scores)

    @property
    @kept
    def log_q(self) -> Tensor:
        if self._layer.scores is None:
            raise UndefinedError(f"{self.layer} has no scores")
        return torch.log_softmax(wide(self._layer.scores), dim=1)

    @property
    @kept
    def cosines(self) -> Tensor:
        if self._layer.anchors is None:
            raise UndefinedError(f"{self.layer} has no anchors")
        activations = wide(self.activations)
        return defined_cosine(activations, self._layer.anchors.to(activations.dtype))

    @kept
    def closeness(self, *widths: float) -> Tensor:
        if self._joint.has_grams:
            return self._joint.closeness(*widths)[self._position]
        rows = centred(wide(self.activations))
        return closeness((rows @ rows.T)[None], self.variance()[None], widths)[0]

    # Second moments

    def mean(self) -> Tensor:
        return self._joint.mean(self._run)[self._row]

    def unit_variances(self) -> Tensor:
        return self._joint.unit_variances(self._run)[self._row]

    def inner(self, other: LayerStatistics) -> InnerProduct:
        pairs, (i, j) = self._joint.inner(), self._pair(other)
        totals = pairs.y_total[0]
        return InnerProduct(self.n, pairs.squares[i, j], pairs.lengths[i, j], totals[i], totals[j])

    def hsic(self, other: LayerStatistics, debiased: bool = True) -> Tensor:
        return self._joint.hsic(debiased)[self._pair(other)]

    def squared_trace(self, debiased: bool = True) -> Tensor:
        return self._joint.squared_trace(debiased)[self._position]

    def variance(self) -> Tensor:
        return self._joint.variance()[self._position]

    def shrinkage(self) -> Tensor:
        return self._joint.shrinkage()[self._position]

    def shrunk_log_det(self) -> Tensor:
        if not self._joint.has_grams:
            return super().shrunk_log_det()
        return self._joint.shrunk_log_det()[self._position]

    def channel_log_det(self, snr: float) -> Tensor:
        if not self._joint.has_grams:
            return super().channel_log_det(snr)
        return self._joint.channel_log_det(snr)[self._position]

    @kept
    def scatter(self) -> Tensor:
        if self._joint.has_grams:
            return self._joint.grams().matrices[self._position]
        return self._joint.as_split("own")[self.layer].scatter()

    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        if not self._joint.has_grams:
            sums = self._joint.as_split("own", "next", "folds")
            return sums[self.layer].held_out_r2(sums[target.layer], penalty)
        i, j = self._pair(target)
        if j != i + 1:
            raise UsageError(f"held_out_r2 predicts the next layer, not {target.layer}")
        return self._joint.held_out_r2(penalty)[i]

    # Held-out predictions

    def held_out_scores(self, penalty: float = PENALTY) -> Tensor:
        return self._scores(penalty)

    @kept
    def _scores(self, penalty: float) -> Tensor:
        joint = self._joint
        if joint.fitted is not None:
            return joint.fitted[self.layer].predict(self.activations, joint.folds(), penalty)
        joint.known_labels()
        if joint.has_grams:
            return joint.held_out_scores(penalty)[self._position]
        sums = joint.as_split("own", "labels", "folds")
        return sums[self.layer].predict(self.activations, joint.folds(), penalty)

    def held_out_prior(self) -> Tensor:
        return self._joint.held_out_prior()

    def folds(self) -> Tensor:
        return self._joint.folds()

    def _pair(self, other: LayerStatistics) -> tuple[int, int]:
        assert isinstance(other, SampleStatistics)  # a layer of the same event
        return self._position, other._position


def _runs(layers: Sequence[Layer]) -> list[range]:
    """Return the positions of neighbouring layers of one width and type, which can be stacked."""
    kinds = [(layer.activations.shape[1], layer.activations.dtype) for layer in layers]
    lengths = [len(list(run)) for _, run in groupby(kinds)]
    return [range(stop - n, stop) for n, stop in zip(lengths, accumulate(lengths), strict=True)]


def closeness(grams: Tensor, variances: Tensor, widths: Sequence[float]) -> Tensor:
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


def _largest(tensor: Tensor) -> Tensor:
    values = wide(tensor)
    return values.abs().amax() if values.numel() else values.new_zeros(())


def statistics_of(*activations: Array, labels: Array | None = None) -> list[SampleStatistics]:
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
    known = None if labels is None else as_tensor(labels).long()
    _check_arrays([layer.activations for layer in layers], known)
    ids = torch.arange(len(layers[0].activations), device=layers[0].activations.device)
    num_classes = 0 if known is None or not len(known) else int(known.max()) + 1
    event = EventStatistics(layers, ids, known, num_classes, is_chunk=False, fitted=None)
    return list(event.values())


def _check_arrays(activations: Sequence[Tensor], labels: Tensor | None) -> None:
    for tensor in activations:
        if tensor.ndim != 2:
            raise UsageError(f"expected activations (n, p), got shape {tuple(tensor.shape)}")
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():
            raise UndefinedError("the activations hold NaN or infinity")
    shapes = [tuple(tensor.shape) for tensor in activations]
    if labels is not None:
        shapes.append(tuple(labels.shape))
        if labels.ndim != 1 or (len(labels) and int(labels.min()) < 0):
            raise UsageError(f"expected labels (n,) from 0 on, got shape {tuple(labels.shape)}")
    if len({shape[0] for shape in shapes}) > 1:
        raise UsageError(f"expected as many samples everywhere, got shapes {shapes}")
