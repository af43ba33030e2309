"""What metrics may ask of a layer: of a batch, of the samples of a split, or of a whole split.

A statistic is computed when it is first asked for, and cached for all metrics. Those of second
moments are written once, in `SecondMoments`, for all layers of an event or split together; each
has a line in `LayerStatistics`, which hands out one layer's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import binary_scale, wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS
from cmp_core.layers.similarity import defined_cosine
from cmp_core.statistics.cache import StatisticsCache, cached
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import LinearFits
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.least_squares import PENALTY
from cmp_core.statistics.second_moments import Function, SampleMoments, SecondMoments, rests_on

Options = ParamSpec("Options")


def fitted_to(*targets: str) -> Callable[[Function], Function]:
    """Declare what a statistic of single samples is fitted to: of `next` and `labels`."""

    def declare(statistic: Function) -> Function:
        statistic.targets = frozenset(targets)  # type: ignore[attr-defined]
        return statistic

    return declare


def _of_layer(
    statistic: Callable[Concatenate[SecondMoments, Options], Tensor], power: int = 0
) -> Callable[Concatenate[LayerStatistics, Options], Tensor]:
    """Make a statistic of all layers, (L, …), one of a layer.

    Args:
        statistic: a method of `SecondMoments`.
        power: with which power of the activations' unit it grows.
    """
    name = statistic.__name__

    @wraps(statistic)
    def get(self: LayerStatistics, *args: Options.args, **options: Options.kwargs) -> Tensor:
        values: Tensor = getattr(self._moments, name)(*args, **options)
        return self._in_units(values[self._index], power)

    return cast("Callable[Concatenate[LayerStatistics, Options], Tensor]", get)


def _by_layer(
    statistic: Callable[[SecondMoments, int], Tensor], power: int
) -> Callable[[LayerStatistics], Tensor]:
    """Make a statistic that is computed for one layer at a time one of a layer, see `_of_layer`."""
    name = statistic.__name__

    @wraps(statistic)
    def get(self: LayerStatistics) -> Tensor:
        value: Tensor = getattr(self._moments, name)(self._index)
        return self._in_units(value, power)

    return get


class LayerStatistics:
    """What metrics may ask of one layer, of a batch or of a whole split.

    To a metric that declares the invariance `scale`, all of it is about activations divided by a
    power of two near their largest size: none of their products is then too large or too small.

    Attributes:
        n: number of samples.
        width: number of units p.
    """

    def __init__(self, statistics: Statistics, index: int, width: int, is_rescaled: bool) -> None:
        self._all, self._index, self._is_rescaled = statistics, index, is_rescaled
        self.n, self.width = statistics.n, width

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self._all.names[self._index]

    # Second moments: a function that needs these is exact over a whole split.

    scatter = _by_layer(SecondMoments.scatter, power=2)
    mean = _by_layer(SecondMoments.mean, power=1)
    unit_variances = _by_layer(SecondMoments.unit_variances, power=2)
    eigenvalues = _by_layer(SecondMoments.eigenvalues, power=2)
    variance = _of_layer(SecondMoments.variance, power=2)
    within_class_variance = _of_layer(SecondMoments.within_class_variance, power=2)
    squared_norm = _of_layer(SecondMoments.squared_norm, power=4)
    squared_trace = _of_layer(SecondMoments.squared_trace, power=4)
    shrinkage = _of_layer(SecondMoments.shrinkage)
    channel_log_det = _of_layer(SecondMoments.channel_log_det)

    @rests_on("own")
    def shrunk_log_det(self) -> Tensor:
        """Return log det((1-δ) S/n + δ μ I) (0-d), see `SecondMoments.shrunk_log_det`."""
        value = self._moments.shrunk_log_det()[self._index]
        return value if self._is_rescaled else value + 2 * self.width * self._scale.log()

    @rests_on("own", "next")
    def hsic(self, other: LayerStatistics, debiased: bool = True) -> Tensor:
        """Return ‖Σ_xy‖²_F (0-d), see `InnerProduct.hsic`."""
        moments = self._pair(other)
        value = moments.hsic(debiased)[self._index, other._index]
        return other._in_units(self._in_units(value, 2), 2)

    # One value per sample: exact as a mean over chunks.

    @property
    def log_q(self) -> Tensor:
        """Log-probabilities log softmax(scores), (n, C), in nats."""
        return self._all.samples.log_q(self._index)

    @property
    def cosines(self) -> Tensor:
        """Cosine of every activation vector with every anchor, (n, C).

        NaN where one of the two is zero.
        """
        return self._all.samples.cosines(self._index)

    # Held out: a sample's value comes from a fit that has not seen it. Over a split the fits are
    # least squares, to training samples or, where there are none, to the other four of five folds.
    # A batch has too few samples for that: there they are ridge regressions, by five folds.

    @fitted_to("labels")
    def held_out_scores(self, penalty: float = PENALTY) -> Tensor:
        """Return the scores (n, K) of a linear regression of the one-hot labels, held out.

        The columns stand for classes: 0 to C-1, or where that are more than there are samples
        those classes that there are; `columns` says which one is a sample's own. NaN where there is
        nothing to fit: all labels are of one class, or no unit varies.

        Args:
            penalty: of the ridge regression on a batch, relative to the mean eigenvalue.

        Raises:
            UndefinedError: over a split, too few fitting samples for the layer's units.
        """
        return self._all.samples.held_out_scores(self._index, penalty)

    @fitted_to("labels")
    def held_out_prior(self) -> Tensor:
        """Return the class frequencies (n, K) among the samples of `held_out_scores`' fits."""
        return self._all.samples.held_out_prior()

    @fitted_to("labels")
    def columns(self) -> Tensor:
        """Return the column (n,) of each sample's own class in `held_out_scores`."""
        return self._all.samples.columns()

    @fitted_to("next")
    def held_out_errors(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        """Return ‖y - ŷ‖² (n,) of predicting the next layer linearly from this one, held out.

        Args:
            target: statistics of the next layer.
            penalty: of the ridge regression on a batch, relative to the mean eigenvalue.
        """
        self._require_together(target)
        samples = self._all.samples
        errors = samples.held_out_errors(self._index, target._index, penalty)
        return errors if self._is_rescaled else errors * samples.scale(target._index) ** 2

    @fitted_to("next")
    def deviations(self) -> Tensor:
        """Return activations (n, p) minus their mean, over a split that of the fitting samples."""
        samples = self._all.samples
        rows = samples.deviations(self._index)
        return rows if self._is_rescaled else rows * samples.scale(self._index)

    def folds(self) -> Tensor:
        """Return the fold (n,), 0 to 4, of each sample of a batch or a split."""
        return self._all.samples.folds()

    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2w) for widths w in units of `variance`.

        One value per width, without the norm of the Gaussian kernel; for metrics that see their
        samples at once.
        """
        return self._moments.mean_log_kernel_density(*widths)[self._index]

    def kernel_density_influences(self, *widths: float) -> Tensor:
        """Return how much each sample moves `mean_log_kernel_density`, (widths, n)."""
        return self._moments.kernel_density_influences(*widths)[:, self._index]

    @property
    def _moments(self) -> SecondMoments:
        """The second moments of all layers, which this one has."""
        moments = self._all.moments
        moments.require_layer(self._index)
        return moments

    def _pair(self, other: LayerStatistics) -> SecondMoments:
        """Return the second moments, which this layer and another one have."""
        self._require_together(other)
        moments = self._moments
        moments.require_layer(other._index)
        moments.require_pair(self._index, other._index)
        return moments

    def _require_together(self, other: LayerStatistics) -> None:
        """Raise where the other layer's statistics are of other samples, or of the reference."""
        if other._all is not self._all:
            raise UsageError(
                f"statistics of {self.layer} and {other.layer} are of different events, or one is "
                "of the reference, which is compared with no layer"
            )

    @property
    def _scale(self) -> Tensor:
        return self._moments.scales()[self._index]

    def _in_units(self, value: Tensor, power: int) -> Tensor:
        """Return a value in the units that are asked for."""
        return value * self._scale**power if power and not self._is_rescaled else value


SUMS: Mapping[str, frozenset[str]] = {
    name: statistic.sums
    for name, statistic in vars(LayerStatistics).items()
    if hasattr(statistic, "sums")
}
"""What is summed over a split for a statistic to be exact over it, see `rests_on`."""

FITS: Mapping[str, frozenset[str]] = {
    name: statistic.targets
    for name, statistic in vars(LayerStatistics).items()
    if hasattr(statistic, "targets")
}
"""What the fits are to of which a statistic has a value for every sample, see `fitted_to`."""


class Statistics(Mapping[str, LayerStatistics], ABC):
    """The statistics of the layers of an event or of a split, by name.

    Args:
        widths: number of units of each layer, by name.
        n: number of samples.
    """

    def __init__(self, widths: Mapping[str, int], n: int) -> None:
        self.names, self.n = tuple(widths), n
        self._widths = tuple(widths.values())

    @property
    @abstractmethod
    def moments(self) -> SecondMoments:
        """The second moments of all layers."""

    @property
    @abstractmethod
    def samples(self) -> EventStatistics:
        """The statistics of single samples."""

    def __getitem__(self, layer: str) -> LayerStatistics:
        return self.of(layer, is_rescaled=False)

    def of(self, layer: str, *, is_rescaled: bool) -> LayerStatistics:
        """Return the statistics of a layer, of rescaled activations or in their own units.

        Raises:
            UsageError: there is no such layer, or nothing is computed of it.
        """
        index = self._index(layer)
        return LayerStatistics(self, index, self._widths[index], is_rescaled)

    def _index(self, layer: str) -> int:
        if layer not in self.names:
            raise UsageError(f"statistics: expected one of {', '.join(self)}, got {layer!r}")
        return self.names.index(layer)

    def get(self, layer: str, default: Any = None, /) -> Any:
        """Return the statistics of a layer, or the default where there is none of that name."""
        if layer not in self:
            return default
        return self[layer]

    def __contains__(self, layer: object) -> bool:
        return any(layer == name for name in self)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class EventStatistics(StatisticsCache, Statistics):
    """The statistics of samples at hand: of a batch, a chunk or a subset of a split.

    Half-precision tensors are widened to float32 first; float32 and float64 are kept.

    Args:
        layers: all layers but the reference.
        sample_ids, labels: of the samples, (n,) each; labels may be none.
        moments: makes the second moments of the samples; none for a chunk of a split, whose own
            would mean nothing.
        folds: of the batch or the split that the samples are from.
        fits: that score the samples of a split; none where they are a batch.
        scales: of the layers by name, where the samples are a part of a split; else their own.
        reference: statistics of the reference, which are had by its name from these.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        moments: Callable[[Guards], SampleMoments] | None,
        folds: Folds,
        fits: LinearFits | None = None,
        scales: Mapping[str, Tensor] | None = None,
        reference: EventStatistics | None = None,
    ) -> None:
        StatisticsCache.__init__(self)
        widths = {layer.name: layer.activations.shape[1] for layer in layers}
        Statistics.__init__(self, widths, sample_ids.shape[0])
        self._layers, self._sample_ids, self._labels = layers, sample_ids, labels
        self._make_moments, self._folds, self._fits = moments, folds, fits
        self._scales = scales
        self.reference = reference
        self._moments: SampleMoments | None = None
        self._whole: EventStatistics | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names if self.reference is None else self.reference.names + self.names)

    def of(self, layer: str, *, is_rescaled: bool) -> LayerStatistics:
        """Return the statistics of a layer or of the reference, see `Statistics.of`."""
        if self.reference is not None and layer in self.reference:
            return self.reference.of(layer, is_rescaled=is_rescaled)
        return super().of(layer, is_rescaled=is_rescaled)

    def take_rows_of(self, whole: EventStatistics) -> None:
        """Take over from statistics of the same samples what the fits are applied to."""
        self._whole = whole
        if self.reference is not None and whole.reference is not None:
            self.reference.take_rows_of(whole.reference)

    def scale(self, layer: int) -> Tensor:
        """Return the power of two (0-d) by which a layer's activations are divided."""
        owner = self._layers[layer]
        if self._scales and owner.name in self._scales:
            return self._scales[owner.name]
        if self._make_moments is None:
            return binary_scale(owner.activations)
        return self.moments.scales()[layer]

    def rescaled(self, layer: str, what: str) -> Tensor:
        """Return the `activations` or `anchors` of a layer, divided by its scale, widened."""
        if self.reference is not None and layer in self.reference:
            return self.reference.rescaled(layer, what)
        return self._rescaled(self._index(layer), what)

    @cached
    def _rescaled(self, index: int, what: str) -> Tensor:
        tensor: Tensor = getattr(self._layers[index], what)
        scale = self.scale(index)
        return (tensor.to(scale.dtype) / scale).to(wide(tensor[:0]).dtype)

    @property
    def samples(self) -> EventStatistics:
        """The statistics of single samples: these."""
        return self

    @property
    def moments(self) -> SampleMoments:
        """The second moments of all layers.

        Raises:
            UsageError: the samples are a chunk of a split.
        """
        if self._moments is None:
            if self._make_moments is None:
                raise UsageError(
                    "a statistic of all samples means nothing for one chunk of a split: a function "
                    "under @metric(split='moments', needs=('statistics.variance', …)) gets it over "
                    "the whole split, one under split='subset' of the split's fixed subset"
                )
            self._moments = self._make_moments(self.guards)
        return self._moments

    @cached
    def log_q(self, layer: int) -> Tensor:
        """Return `LayerStatistics.log_q` of a layer."""
        scores = self._layers[layer].scores
        if scores is None:
            raise UndefinedError(f"{self.names[layer]} has no scores")
        return torch.log_softmax(wide(scores), dim=1)

    @cached
    def cosines(self, layer: int) -> Tensor:
        """Return `LayerStatistics.cosines` of a layer."""
        anchors = self._layers[layer].anchors
        if anchors is None:
            raise UndefinedError(f"{self.names[layer]} has no anchors")
        return defined_cosine(wide(self._layers[layer].activations), wide(anchors))

    @cached
    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of a layer."""
        if self._fits is None:
            self._require_labels()
            return self.moments.held_out_scores(layer, penalty)
        return self._fits.scores(self.names[layer], self._shifted(layer), self._sample_ids)

    @cached
    def held_out_errors(self, layer: int, target: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_errors` of two layers, in the target's scale."""
        if self._fits is None:
            return self.moments.held_out_errors(layer, target, penalty)
        names = self.names[layer], self.names[target]
        rows = self._shifted(layer), self._shifted(target)
        errors = self._fits.squared_errors(*names, *rows, self._sample_ids)
        return errors * self._unit_of_fits(target) ** 2

    @cached
    def deviations(self, layer: int) -> Tensor:
        """Return `LayerStatistics.deviations` of a layer, in units of its scale."""
        if self._fits is None:
            rows = self.moments.deviations(layer)
            if self._scales is None:
                return rows
            return rows * (self.moments.scales()[layer] / self.scale(layer))
        deviations = self._fits.deviations(self.names[layer], self._shifted(layer))
        return deviations * self._unit_of_fits(layer)

    @cached
    def _shifted(self, layer: int) -> Tensor:
        """Return the activations of a layer as the fits take them."""
        if self._whole is not None:
            return self._whole._shifted(layer)
        assert self._fits is not None  # only then it is asked for
        return self._fits.shifted(self.names[layer], self._layers[layer].activations)

    def _unit_of_fits(self, layer: int) -> Tensor:
        """Return the scale of the fits (0-d) in units of that of these samples, a power of two."""
        assert self._fits is not None  # only then it is asked for
        scale, name = self.scale(layer), self.names[layer]
        return self._fits.scales[name] / scale if name in self._fits.scales else scale / scale

    @cached
    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`, the same for all layers."""
        if self._fits is not None:
            return self._fits.prior(self._sample_ids)
        classes, folds = self._classes, self.folds()
        targets = classes.one_hot(self._require_labels())
        counts = targets.new_zeros(FOLDS, classes.width).index_add_(0, folds, targets)
        return classes.prior(counts.sum(dim=0) - counts)[folds]

    @cached
    def columns(self) -> Tensor:
        """Return `LayerStatistics.columns`, the same for all layers."""
        return self._classes.columns(self._require_labels()).clone()

    @cached
    def folds(self) -> Tensor:
        """Return `LayerStatistics.folds`, the same for all layers."""
        return self._folds.of(self._sample_ids)

    def _require_labels(self) -> Tensor:
        if self._labels is None:
            raise UndefinedError("there are no labels")
        return self._labels

    @property
    def _classes(self) -> Classes:
        """The classes that scores are about."""
        self._require_labels()
        known = self.moments.classes if self._fits is None else self._fits.classes
        if known is None:
            raise UndefinedError("the fitting samples have no labels")
        return known


class SelectedStatistics(EventStatistics):
    """The statistics of some samples of a chunk: rows of those of all of its samples.

    Args:
        whole: of the chunk.
        where: positions of the samples in it, (m,).
        layers, sample_ids, labels: of the samples.
        reference: see `EventStatistics`.
    """

    def __init__(
        self,
        whole: EventStatistics,
        where: Tensor,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        reference: EventStatistics | None = None,
    ) -> None:
        shared = whole._folds, whole._fits, whole._scales
        super().__init__(layers, sample_ids, labels, None, *shared, reference)
        self._chunk, self._where = whole, where

    def log_q(self, layer: int) -> Tensor:
        """Return `LayerStatistics.log_q` of a layer."""
        return self._chunk.log_q(layer)[self._where]

    def cosines(self, layer: int) -> Tensor:
        """Return `LayerStatistics.cosines` of a layer."""
        return self._chunk.cosines(layer)[self._where]

    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of a layer."""
        return self._chunk.held_out_scores(layer, penalty)[self._where]

    def held_out_errors(self, layer: int, target: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_errors` of two layers, in the target's scale."""
        return self._chunk.held_out_errors(layer, target, penalty)[self._where]

    def deviations(self, layer: int) -> Tensor:
        """Return `LayerStatistics.deviations` of a layer, in units of its scale."""
        return self._chunk.deviations(layer)[self._where]

    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`, the same for all layers."""
        return self._chunk.held_out_prior()[self._where]

    def columns(self) -> Tensor:
        """Return `LayerStatistics.columns`, the same for all layers."""
        return self._chunk.columns()[self._where]
