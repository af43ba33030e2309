"""Statistics that metrics share: computed when first asked for, then kept.

Sharing is by name: two metrics that read `statistics.log_q` of one event get one tensor. What a
metric may ask of a layer is in `LayerStatistics`; the answers for samples at hand are in
`event_statistics`, those for a whole split in `split_statistics`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.statistics.moments import InnerProduct, eigenvalues, log_det, require
from cmp_core.statistics.ridge import PENALTY

Options = ParamSpec("Options")
Owner = TypeVar("Owner", bound="Keeper")
Value = TypeVar("Value")


@attrs.frozen(eq=False)
class Guarded:
    """A tensor that plugins may read but not write, with its version when it was handed out."""

    what: str
    tensor: Tensor
    version: int = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.tensor._version, takes_self=True)
    )


class Keeper:
    """Keeps what its methods under `@kept` return, and guards the tensors among it.

    Attributes:
        guards: the tensors computed so far; several keepers may share one list.
    """

    def __init__(self, guards: list[Guarded] | None = None) -> None:
        self.guards = [] if guards is None else guards
        self._kept: dict[tuple[Any, ...], Any] = {}


def first_modified(*groups: Iterable[Guarded]) -> str | None:
    """Return the name of the first guarded tensor that somebody has written into, or none."""
    for group in groups:
        for guard in group:
            if guard.tensor._version != guard.version:
                return guard.what
    return None


def kept(
    compute: Callable[Concatenate[Owner, Options], Value],
) -> Callable[Concatenate[Owner, Options], Value]:
    """Make a method compute once for each set of arguments, which are its key."""
    name = compute.__name__

    @wraps(compute)
    def get(self: Owner, *args: Options.args, **options: Options.kwargs) -> Value:
        key = (name, *args, *options.items())
        if key not in self._kept:
            value = self._kept[key] = compute(self, *args, **options)
            what = f"statistics.{name}"
            self.guards.extend([Guarded(what, tensor) for tensor in _tensors(value)])
        return self._kept[key]  # type: ignore[no-any-return]

    return cast("Callable[Concatenate[Owner, Options], Value]", get)


def _tensors(value: object) -> list[Tensor]:
    """Return a tensor itself, or the tensors that are fields of an attrs value."""
    if isinstance(value, Tensor):
        return [value]
    kind = type(value)
    fields = [getattr(value, f.name) for f in attrs.fields(kind)] if attrs.has(kind) else []
    return [field for field in fields if isinstance(field, Tensor)]


class LayerStatistics(Keeper, ABC):
    """What metrics may ask of one layer, of a batch or of a whole split.

    Second moments are in float64 (float32 on MPS) whatever the activations are, but for `hsic`,
    `squared_trace` and `closeness` of more samples than units, whose products are taken in the
    activations' own precision. S = X̃ᵀX̃ is the scatter of the centred activations (n, p).

    Attributes:
        layer: name of the layer.
        n: number of samples.
        width: number of units p.
    """

    def __init__(self, layer: str, n: int, width: int, guards: list[Guarded]) -> None:
        super().__init__(guards)
        self.layer, self.n, self.width = layer, n, width

    # Second moments: a function that needs these is exact over a whole split.

    @abstractmethod
    def inner(self, other: LayerStatistics) -> InnerProduct:
        """Return what the linear similarity with another layer (or itself) rests on."""

    @abstractmethod
    def scatter(self) -> Tensor:
        """Return S (p, p) or X̃X̃ᵀ (n, n), whose eigenvalues other than 0 are the same."""

    @abstractmethod
    def held_out_r2(self, target: LayerStatistics, penalty: float = PENALTY) -> Tensor:
        """Return R² (0-d) of predicting a layer linearly from this one, held out by 5 folds."""

    def hsic(self, other: LayerStatistics, debiased: bool = True) -> Tensor:
        """Return ‖Σ_xy‖²_F (0-d), see `InnerProduct.hsic`."""
        return self.inner(other).hsic(debiased)

    def squared_norm(self, debiased: bool = True) -> Tensor:
        """Return ‖Σ‖²_F (0-d) of the covariance Σ: `hsic` of the layer with itself."""
        return self.hsic(self, debiased)

    def squared_trace(self, debiased: bool = True) -> Tensor:
        """Return (tr Σ)² (0-d), see `InnerProduct.squared_trace`."""
        return self.inner(self).squared_trace(debiased)

    @kept
    def variance(self) -> Tensor:
        """Return tr S / n (0-d), the variance summed over units."""
        require(self.n, 1)
        return self.inner(self).x_total / self.n

    @kept
    def eigenvalues(self) -> Tensor:
        """Return the eigenvalues of the covariance S/(n-1), largest first, (min(n-1, p),)."""
        require(self.n, 2)
        rank = min(self.n - 1, self.width)
        return eigenvalues(self.scatter())[:rank] / (self.n - 1)

    @kept
    def shrinkage(self) -> Tensor:
        """Return the intensity δ (0-d) of Ledoit & Wolf 2004 for S/n, between 0 and 1."""
        return self.inner(self).shrinkage(self.width)

    @kept
    def shrunk_log_det(self) -> Tensor:
        """Return log det((1-δ) S/n + δ μ I) (0-d), the covariance shrunk by `shrinkage`.

        μ is the mean eigenvalue tr S / (n p); minus infinity where nothing varies.
        """
        delta, mean = self.shrinkage(), self.variance() / self.width
        return log_det(self.scatter(), (1 - delta) / self.n, delta * mean, self.width)

    @kept
    def channel_log_det(self, snr: float) -> Tensor:
        """Return log det(I + S/(n σ²)) (0-d) for noise of σ² = `variance` / snr in every unit."""
        scale = snr / (self.variance() * self.n)
        return log_det(self.scatter(), scale, torch.ones_like(scale), self.width)

    @abstractmethod
    def mean(self) -> Tensor:
        """Return the mean activation of every unit, (p,)."""

    @abstractmethod
    def unit_variances(self) -> Tensor:
        """Return the variance of every unit, the diagonal of S/n, (p,)."""

    # One value per sample: exact as a mean over chunks.

    @property
    def peak(self) -> Tensor:
        """Largest absolute activation, 0-d: 0 for a dead layer.

        Not finite where an activation or a score is not.
        """
        raise self._no_samples("peak")

    @property
    def log_q(self) -> Tensor:
        """Log-probabilities log softmax(scores), (n, C), in nats."""
        raise self._no_samples("log_q")

    @property
    def cosines(self) -> Tensor:
        """Cosine of every activation vector with every anchor, (n, C).

        NaN where one of the two is zero.
        """
        raise self._no_samples("cosines")

    def held_out_scores(self, penalty: float = PENALTY) -> Tensor:
        """Return the scores (n, C) of a ridge classifier on one-hot labels.

        Each sample's come from the fit to the other four of five folds, stratified by class; the
        folds are made by a hash of the sample ids. NaN where there is nothing to fit: all labels
        are of one class, or no unit varies.
        """
        raise self._no_samples("held_out_scores")

    def held_out_prior(self) -> Tensor:
        """Return the class frequencies (n, C) in the folds that `held_out_scores` was fitted to."""
        raise self._no_samples("held_out_prior")

    def folds(self) -> Tensor:
        """Return the fold (n,), 0 to 4, in which each sample is held out."""
        raise self._no_samples("folds")

    def closeness(self, *widths: float) -> Tensor:
        """Return mean_i log mean_j exp(-‖xᵢ-xⱼ‖² / 2w) for widths w in units of `variance`.

        One value per width; for metrics that see their samples at once. It is the mean logarithm
        of a Gaussian kernel density, up to the density's norm.
        """
        raise self._no_samples("closeness")

    def _no_samples(self, what: str) -> UsageError:
        return UsageError(
            f"statistics.{what} is about single samples, but the metric's needs name a statistic "
            "of the whole split, so it gets no samples; declare one or the other"
        )
