"""What metrics may ask of a layer, and what follows from the second moments of layers.

A statistic is computed when it is first asked for, and cached for all metrics. Those of second
moments are written once, in `SecondMoments`, for all layers of an event or split together; each
has a line in `LayerStatistics`, which hands out one layer's. Where the moments come from is in
`batch` (samples at hand) and `split` (sums over a split).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import binary_scale, wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.similarity import defined_cosine
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.moments import PENALTY, InnerProduct, eigenvalues, require

Options = ParamSpec("Options")
Owner = TypeVar("Owner", bound="StatisticsCache")
Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])


# The cache


class StatisticsCache:
    """Caches what its methods under `@cached` return, and guards the tensors among it.

    Attributes:
        guards: of the tensors computed so far; several caches may share them.
    """

    def __init__(self, guards: Guards | None = None) -> None:
        self.guards = Guards() if guards is None else guards
        self._cache: dict[tuple[Any, ...], Any] = {}


def cached(
    compute: Callable[Concatenate[Owner, Options], Value],
) -> Callable[Concatenate[Owner, Options], Value]:
    """Make a method compute once for each set of arguments, which are its key."""
    name = compute.__name__

    @wraps(compute)
    def get(self: Owner, *args: Options.args, **options: Options.kwargs) -> Value:
        key = (name, *args, *options.items())
        if key not in self._cache:
            value = self._cache[key] = compute(self, *args, **options)
            for tensor in _tensors(value):
                self.guards.add(f"statistics.{name}", tensor)
        return self._cache[key]  # type: ignore[no-any-return]

    return cast("Callable[Concatenate[Owner, Options], Value]", get)


def _tensors(value: object) -> list[Tensor]:
    """Return a tensor itself, or the tensors that are fields of an attrs value."""
    if isinstance(value, Tensor):
        return [value]
    kind = type(value)
    fields = [getattr(value, f.name) for f in attrs.fields(kind)] if attrs.has(kind) else []
    return [field for field in fields if isinstance(field, Tensor)]


# What a statistic rests on


def rests_on(*sums: str, samples: bool = False) -> Callable[[Function], Function]:
    """Declare what is summed over a split for a statistic to be exact over it.

    Args:
        sums: of `own` (products of a layer with itself), `next` (with the next layer), `labels`
            (with the one-hot labels), and `folds` (all of these for every fold by itself).
        samples: whether the statistic has a value for every sample, so that the split is read a
            second time for it.
    """

    def declare(statistic: Function) -> Function:
        statistic.sums, statistic.of_samples = frozenset(sums), samples  # type: ignore[attr-defined]
        return statistic

    return declare


# Second moments


class SecondMoments(StatisticsCache, ABC):
    """Second moments of L layers over the same n samples, and what follows from them.

    They are in float64 (float32 on MPS) whatever the activations are, and in units of a scale of
    each layer: `LayerStatistics` gives them the activations' own. S = X̃ᵀX̃ is the scatter of a
    layer's centred activations X̃ (n, p). What is said of one layer, as `LayerStatistics` returns
    it, stands here in a row of (L, …), unless a method takes the number of a layer.

    Args:
        n: number of samples.
        widths: number of units of each layer.
        folds: of the samples, or of the split that they are from.
        guards: see `StatisticsCache`.

    Attributes:
        widths: number of units p of each layer, (L,).
    """

    def __init__(self, n: int, widths: Sequence[int], folds: Folds, guards: Guards) -> None:
        super().__init__(guards)
        self.n, self.folds = n, folds
        self.widths = torch.tensor(widths, device=folds.sample_ids.device)

    # What a form of the moments provides

    @abstractmethod
    def scales(self) -> Tensor:
        """Return the power of two by which the activations of each layer are divided, (L,)."""

    @abstractmethod
    def inner(self) -> InnerProduct:
        """Return the inner products of all pairs of layers, fields that broadcast to (L, L)."""

    @abstractmethod
    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        """Return log det(scale S + floor I_p), (L,), given (L,) each."""

    @abstractmethod
    @rests_on("own")
    def scatter(self, layer: int) -> Tensor:
        """Return S (p, p) or X̃X̃ᵀ (n, n), whose eigenvalues other than 0 are the same."""

    @abstractmethod
    @rests_on("own")
    def mean(self, layer: int) -> Tensor:
        """Return the mean activation of every unit, (p,)."""

    @abstractmethod
    @rests_on("own")
    def unit_variances(self, layer: int) -> Tensor:
        """Return the variance of every unit, the diagonal of S/n, (p,)."""

    @abstractmethod
    def held_out_r2(self, layer: int, target: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_r2` of two layers."""

    @abstractmethod
    def held_out_scores(
        self, layer: int, activations: Tensor, sample_ids: Tensor, penalty: float
    ) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of some samples, (k, K).

        Args:
            layer: which.
            activations: of the samples, (k, p).
            sample_ids: theirs, (k,).
            penalty: relative to the mean eigenvalue.
        """

    def require_layer(self, layer: int) -> None:
        """Raise `UndefinedError` where a layer was too wide to be measured."""

    def require_pair(self, first: int, second: int) -> None:
        """Raise `UsageError` where the inner product of two layers is not known."""

    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        """Return `LayerStatistics.mean_log_kernel_density` of all layers, (L, widths)."""
        raise UsageError(
            "statistics.mean_log_kernel_density compares single samples, which a function under "
            "split='moments' does not see; declare split='subset'"
        )

    # What follows

    @cached
    @rests_on("own")
    def variance(self) -> Tensor:
        """Return tr S / n (0-d), the variance summed over units."""
        require(self.n, 1)
        return self.inner().own.x_total / self.n

    @cached
    @rests_on("own", "next")
    def hsic(self, debiased: bool = True) -> Tensor:
        """Return ‖Σ_xy‖²_F of all pairs of layers, (L, L), see `InnerProduct.hsic`.

        Of a layer with itself NaN where it is no more than rounding, see `is_resolved`.
        """
        values = self.inner().hsic(debiased)
        if debiased:
            own = torch.where(self.inner().own.is_resolved(), values.diagonal(), torch.nan)
            values = values.diagonal_scatter(own)
        return values

    @rests_on("own")
    def squared_norm(self, debiased: bool = True) -> Tensor:
        """Return ‖Σ‖²_F (0-d) of the covariance Σ: `hsic` of the layer with itself."""
        return self.hsic(debiased).diagonal()

    @cached
    @rests_on("own")
    def squared_trace(self, debiased: bool = True) -> Tensor:
        """Return (tr Σ)² (0-d), see `InnerProduct.squared_trace`."""
        return self.inner().own.squared_trace(debiased)

    @cached
    @rests_on("own")
    def shrinkage(self) -> Tensor:
        """Return the intensity δ (0-d) of Ledoit & Wolf 2004 for S/n, between 0 and 1."""
        return self.inner().own.shrinkage(self.widths)

    @cached
    @rests_on("own")
    def shrunk_log_det(self) -> Tensor:
        """Return log det((1-δ) S/n + δ μ I) (0-d), the covariance shrunk by `shrinkage`.

        μ is the mean eigenvalue tr S / (n p); minus infinity where nothing varies.
        """
        delta, mean = self.shrinkage(), self.variance() / self.widths
        return self.log_det((1 - delta) / self.n, delta * mean)

    @cached
    @rests_on("own")
    def channel_log_det(self, snr: float) -> Tensor:
        """Return log det(I + S/(n σ²)) (0-d) for noise of σ² = `variance` / snr in every unit."""
        scale = snr / (self.variance() * self.n)
        return self.log_det(scale, torch.ones_like(scale))

    @cached
    @rests_on("own")
    def eigenvalues(self, layer: int) -> Tensor:
        """Return the eigenvalues of the covariance S/(n-1), largest first, (min(n-1, p),).

        Those that are but rounding of the largest are 0; all are NaN where one sample is so large
        that nothing of the others is left, see `InnerProduct.is_outweighed`.
        """
        require(self.n, 2)
        rank = min(self.n - 1, int(self.widths[layer]))
        values = eigenvalues(self.scatter(layer))[:rank] / (self.n - 1)
        if self.n < 4:
            return values
        return torch.where(self.inner().own.is_outweighed()[layer], torch.nan, values)


# What a metric sees


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

    @rests_on("own", "next", "folds")
    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        """Return R² (0-d) of predicting the next layer linearly from this one, held out by 5 folds.

        R² = 1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖², with ȳ the mean over all samples, so a constant prediction
        reads a little below 0.
        """
        return self._pair(target).held_out_r2(self._index, target._index, penalty)

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

    @rests_on("own", "labels", "folds", samples=True)
    def held_out_scores(self, penalty: float = PENALTY) -> Tensor:
        """Return the scores (n, K) of a ridge classifier on one-hot labels.

        The columns stand for classes: 0 to C-1, or where that are more than there are samples
        those classes that there are; `columns` says which one is a sample's own.

        Each sample's come from the fit to the other four of five folds, stratified by class; the
        folds are made by a hash of the sample ids. NaN where there is nothing to fit: all labels
        are of one class, or no unit varies.
        """
        return self._all.samples.held_out_scores(self._index, penalty)

    @rests_on("own", "labels", "folds", samples=True)
    def held_out_prior(self) -> Tensor:
        """Return the class frequencies (n, K) in the folds that `held_out_scores` was fitted to."""
        return self._all.samples.held_out_prior()

    @rests_on("own", "labels", "folds", samples=True)
    def columns(self) -> Tensor:
        """Return the column (n,) of each sample's own class in `held_out_scores`."""
        return self._all.samples.columns()

    @rests_on("own", "labels", "folds", samples=True)
    def folds(self) -> Tensor:
        """Return the fold (n,), 0 to 4, in which each sample is held out."""
        return self._all.samples.folds()

    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2w) for widths w in units of `variance`.

        One value per width, without the norm of the Gaussian kernel; for metrics that see their
        samples at once.
        """
        return self._moments.mean_log_kernel_density(*widths)[self._index]

    @property
    def _moments(self) -> SecondMoments:
        """The second moments of all layers, which this one has."""
        moments = self._all.moments
        moments.require_layer(self._index)
        return moments

    def _pair(self, other: LayerStatistics) -> SecondMoments:
        """Return the second moments, which this layer and another one have."""
        moments = self._moments
        moments.require_layer(other._index)
        moments.require_pair(self._index, other._index)
        return moments

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

SECOND_PASS = frozenset(name for name in SUMS if vars(LayerStatistics)[name].of_samples)
"""The statistics among them that have a value for every sample."""


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
        """Return the statistics of a layer, of rescaled activations or in their own units."""
        index = self.names.index(layer)
        return LayerStatistics(self, index, self._widths[index], is_rescaled)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class EventStatistics(StatisticsCache, Statistics):
    """The statistics of samples at hand: of a batch, a chunk or a subset of a split.

    Half-precision tensors are widened to float32 first; float32 and float64 are kept.

    Args:
        layers: all layers, the reference first where there is one.
        sample_ids, labels: of the samples, (n,) each; labels may be none.
        second_moments: makes those of the samples; none for a chunk of a split, whose own would
            mean nothing.
        fitted: the second moments of the whole split, in the second pass over its chunks.
        scales: of the layers by name, where the samples are a chunk of a split; else their own.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        labels: Tensor | None,
        second_moments: Callable[[Guards], SecondMoments] | None,
        fitted: SecondMoments | None,
        scales: Mapping[str, Tensor] | None = None,
    ) -> None:
        StatisticsCache.__init__(self)
        widths = {layer.name: layer.activations.shape[1] for layer in layers}
        Statistics.__init__(self, widths, sample_ids.shape[0])
        self._layers, self._sample_ids, self._labels = layers, sample_ids, labels
        self._make_moments, self._fitted = second_moments, fitted
        self._scales = scales
        self._moments: SecondMoments | None = None

    @cached
    def rescaled(self, layer: str, what: str) -> Tensor:
        """Return the `activations` or `anchors` of a layer, divided by its scale, widened."""
        owner = self._layers[self.names.index(layer)]
        tensor: Tensor = getattr(owner, what)
        scales = self._scales or {}
        scale = scales[layer] if layer in scales else binary_scale(owner.activations)
        return (tensor.to(scale.dtype) / scale).to(wide(tensor[:0]).dtype)

    @property
    def samples(self) -> EventStatistics:
        """The statistics of single samples: these."""
        return self

    @property
    def moments(self) -> SecondMoments:
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
        activations = self._layers[layer].activations
        self._fits.require_layer(layer)
        return self._fits.held_out_scores(layer, activations, self._sample_ids, penalty)

    @cached
    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`, the same for all layers."""
        return self._fits.folds.prior[self.folds()]

    @cached
    def columns(self) -> Tensor:
        """Return `LayerStatistics.columns`, the same for all layers."""
        if self._labels is None:
            raise UndefinedError("there are no labels")
        return self._fits.folds.columns(self._labels).clone()

    @cached
    def folds(self) -> Tensor:
        """Return `LayerStatistics.folds`, the same for all layers."""
        return self._fits.folds.of(self._sample_ids)

    @property
    def _fits(self) -> SecondMoments:
        """What classifiers were fitted to: the whole split, or the samples themselves."""
        return self.moments if self._fitted is None else self._fitted
