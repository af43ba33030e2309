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
from cmp_core.layers.arrays import wide
from cmp_core.layers.layer import Layer
from cmp_core.layers.similarity import defined_cosine
from cmp_core.statistics.moments import PENALTY, InnerProduct, eigenvalues, require

Options = ParamSpec("Options")
Owner = TypeVar("Owner", bound="StatisticsCache")
Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])


# The cache


@attrs.frozen(eq=False)
class Guarded:
    """A tensor that plugins may read but not write, with its version when it was handed out."""

    what: str
    tensor: Tensor
    version: int


class StatisticsCache:
    """Caches what its methods under `@cached` return, and guards the tensors among it.

    Attributes:
        guards: the tensors computed so far; several caches may share one list.
    """

    def __init__(self, guards: list[Guarded] | None = None) -> None:
        self.guards = [] if guards is None else guards
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
            self.guards.extend(
                [Guarded(f"statistics.{name}", x, x._version) for x in _tensors(value)]
            )
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

    They are in float64 (float32 on MPS) whatever the activations are. S = X̃ᵀX̃ is the scatter of a
    layer's centred activations X̃ (n, p). What is said of one layer, as `LayerStatistics` returns
    it, stands here in a row of (L, …), unless a method takes the number of a layer.

    Attributes:
        n: number of samples.
        widths: number of units p of each layer, (L,).
    """

    def __init__(self, n: int, widths: Tensor, guards: list[Guarded]) -> None:
        super().__init__(guards)
        self.n, self.widths = n, widths

    # What a form of the moments provides

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
        self, layer: int, activations: Tensor, folds: Tensor, penalty: float
    ) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of some samples, (n, C).

        Args:
            layer: which.
            activations: of the samples, (n, p).
            folds: in which the samples are held out, (n,).
            penalty: relative to the mean eigenvalue.
        """

    @abstractmethod
    def folds(self, sample_ids: Tensor) -> Tensor:
        """Return the fold (n,), 0 to 4, in which each of some samples is held out."""

    @abstractmethod
    def prior(self) -> Tensor:
        """Return the class frequencies in all folds but one, for each, (5, C)."""

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
        """Return ‖Σ_xy‖²_F of all pairs of layers, (L, L), see `InnerProduct.hsic`."""
        return self.inner().hsic(debiased)

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
        """Return the eigenvalues of the covariance S/(n-1), largest first, (min(n-1, p),)."""
        require(self.n, 2)
        rank = min(self.n - 1, int(self.widths[layer]))
        return eigenvalues(self.scatter(layer))[:rank] / (self.n - 1)


# What a metric sees


def _of_layer(
    statistic: Callable[Concatenate[SecondMoments, Options], Tensor],
) -> Callable[Concatenate[LayerStatistics, Options], Tensor]:
    """Make a statistic of all layers, (L, …), one of a layer."""
    name = statistic.__name__

    @wraps(statistic)
    def get(self: LayerStatistics, *args: Options.args, **options: Options.kwargs) -> Tensor:
        values: Tensor = getattr(self._all.moments, name)(*args, **options)
        return values[self._index]

    return cast("Callable[Concatenate[LayerStatistics, Options], Tensor]", get)


def _by_layer(
    statistic: Callable[[SecondMoments, int], Tensor],
) -> Callable[[LayerStatistics], Tensor]:
    """Make a statistic that is computed for one layer at a time one of a layer."""
    name = statistic.__name__

    @wraps(statistic)
    def get(self: LayerStatistics) -> Tensor:
        value: Tensor = getattr(self._all.moments, name)(self._index)
        return value

    return get


class LayerStatistics:
    """What metrics may ask of one layer, of a batch or of a whole split.

    Attributes:
        n: number of samples.
        width: number of units p.
    """

    def __init__(self, statistics: Statistics, index: int, width: int) -> None:
        self._all, self._index = statistics, index
        self.n, self.width = statistics.n, width

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self._all.names[self._index]

    # Second moments: a function that needs these is exact over a whole split.

    scatter = _by_layer(SecondMoments.scatter)
    mean = _by_layer(SecondMoments.mean)
    unit_variances = _by_layer(SecondMoments.unit_variances)
    eigenvalues = _by_layer(SecondMoments.eigenvalues)
    variance = _of_layer(SecondMoments.variance)
    squared_norm = _of_layer(SecondMoments.squared_norm)
    squared_trace = _of_layer(SecondMoments.squared_trace)
    shrinkage = _of_layer(SecondMoments.shrinkage)
    shrunk_log_det = _of_layer(SecondMoments.shrunk_log_det)
    channel_log_det = _of_layer(SecondMoments.channel_log_det)

    @rests_on("own", "next")
    def inner(self, other: LayerStatistics) -> InnerProduct:
        """Return what the linear similarity with another layer (or itself) rests on."""
        self._all.moments.require_pair(self._index, other._index)
        return self._all.moments.inner().of_pair(self._index, other._index)

    @rests_on("own", "next")
    def hsic(self, other: LayerStatistics, debiased: bool = True) -> Tensor:
        """Return ‖Σ_xy‖²_F (0-d), see `InnerProduct.hsic`."""
        self._all.moments.require_pair(self._index, other._index)
        return self._all.moments.hsic(debiased)[self._index, other._index]

    @rests_on("own", "next", "folds")
    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        """Return R² (0-d) of predicting the next layer linearly from this one, held out by 5 folds.

        R² = 1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖², with ȳ the mean over all samples, so a constant prediction
        reads a little below 0.
        """
        return self._all.moments.held_out_r2(self._index, target._index, penalty)

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
        """Return the scores (n, C) of a ridge classifier on one-hot labels.

        Each sample's come from the fit to the other four of five folds, stratified by class; the
        folds are made by a hash of the sample ids. NaN where there is nothing to fit: all labels
        are of one class, or no unit varies.
        """
        return self._all.samples.held_out_scores(self._index, penalty)

    @rests_on("own", "labels", "folds", samples=True)
    def held_out_prior(self) -> Tensor:
        """Return the class frequencies (n, C) in the folds that `held_out_scores` was fitted to."""
        return self._all.samples.held_out_prior()

    @rests_on("own", "labels", "folds", samples=True)
    def folds(self) -> Tensor:
        """Return the fold (n,), 0 to 4, in which each sample is held out."""
        return self._all.samples.folds()

    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2w) for widths w in units of `variance`.

        One value per width, without the norm of the Gaussian kernel; for metrics that see their
        samples at once.
        """
        return self._all.moments.mean_log_kernel_density(*widths)[self._index]


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
        index = self.names.index(layer)
        return LayerStatistics(self, index, self._widths[index])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class EventStatistics(StatisticsCache, Statistics):
    """The statistics of samples at hand: of a batch, a chunk or a subset of a split.

    Half-precision tensors are widened to float32 first; float32 and float64 are kept.

    Args:
        layers: all layers, the reference first where there is one.
        sample_ids: of the samples, (n,).
        second_moments: makes those of the samples; none for a chunk of a split, whose own would
            mean nothing.
        fitted: the second moments of the whole split, in the second pass over its chunks.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        sample_ids: Tensor,
        second_moments: Callable[[list[Guarded]], SecondMoments] | None,
        fitted: SecondMoments | None,
    ) -> None:
        StatisticsCache.__init__(self)
        widths = {layer.name: layer.activations.shape[1] for layer in layers}
        Statistics.__init__(self, widths, sample_ids.shape[0])
        self._layers, self._sample_ids = layers, sample_ids
        self._make_moments, self._fitted = second_moments, fitted
        self._moments: SecondMoments | None = None

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
        activations = wide(self._layers[layer].activations)
        return defined_cosine(activations, anchors.to(activations.dtype))

    @cached
    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        """Return `LayerStatistics.held_out_scores` of a layer."""
        activations = self._layers[layer].activations
        return self._fits.held_out_scores(layer, activations, self.folds(), penalty)

    @cached
    def held_out_prior(self) -> Tensor:
        """Return `LayerStatistics.held_out_prior`, the same for all layers."""
        return self._fits.prior()[self.folds()]

    @cached
    def folds(self) -> Tensor:
        """Return `LayerStatistics.folds`, the same for all layers."""
        return self._fits.folds(self._sample_ids)

    @property
    def _fits(self) -> SecondMoments:
        """What classifiers were fitted to: the whole split, or the samples themselves."""
        return self.moments if self._fitted is None else self._fitted
