"""What follows from the second moments of layers, whatever form these are in.

The forms are in `batch` (samples at hand), `sum_moments` (sums over samples) and `split`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.statistics.cache import StatisticsCache, cached
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.kernels import KernelDensities
from cmp_core.statistics.moments import InnerProduct, eigenvalues, require

Function = TypeVar("Function", bound=Callable[..., Any])


def rests_on(*sums: str) -> Callable[[Function], Function]:
    """Declare what is summed over a split for a statistic to be exact over it.

    Args:
        sums: of `own` (products of a layer with itself), `next` (with the next layer) and `labels`
            (with the one-hot labels).
    """

    def declare(statistic: Function) -> Function:
        statistic.sums = frozenset(sums)  # type: ignore[attr-defined]
        return statistic

    return declare


class SecondMoments(StatisticsCache, ABC):
    """Second moments of L layers over the same n samples, and what follows from them.

    They are in float64 (float32 on MPS) whatever the activations are, and in units of a scale of
    each layer: `LayerStatistics` gives them the activations' own. S = X̃ᵀX̃ is the scatter of a
    layer's centred activations X̃ (n, p). What is said of one layer, as `LayerStatistics` returns
    it, stands here in a row of (L, …), unless a method takes the number of a layer.

    Args:
        n: number of samples.
        widths: number of units of each layer.
        device: where they are.
        guards: see `StatisticsCache`.

    Attributes:
        widths: number of units p of each layer, (L,).
    """

    def __init__(self, n: int, widths: Sequence[int], device: torch.device, guards: Guards) -> None:
        super().__init__(guards)
        self.n = n
        self.widths = torch.tensor(widths, device=device)

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
    @rests_on("own", "labels")
    def within_class_variance(self) -> Tensor:
        """Return the variance within classes, summed over units (0-d), unbiased.

        Σᵢ ‖xᵢ - x̄_class‖² / (n - K) for the K classes there are; NaN for one class, and where there
        are no more samples than classes.

        Raises:
            UndefinedError: there are no labels.
        """

    @abstractmethod
    @rests_on("own")
    def unit_variances(self, layer: int) -> Tensor:
        """Return the variance of every unit, the diagonal of S/n, (p,)."""

    def require_layer(self, layer: int) -> None:
        """Raise `UndefinedError` where a layer was too wide to be measured."""

    def require_pair(self, first: int, second: int) -> None:
        """Raise `UsageError` where the inner product of two layers is not known."""

    def kernels(self, widths: Sequence[float]) -> Iterator[KernelDensities]:
        """Yield the kernel densities of all layers, one layer or several at a time."""
        raise UsageError(
            "statistics.mean_log_kernel_density compares single samples, which a function under "
            "split='moments' does not see; declare split='subset'"
        )

    # What follows

    @cached
    def own(self) -> InnerProduct:
        """Return the inner products of each layer with itself, fields (L,)."""
        return self.inner().own

    def mean_log_kernel_density(self, *widths: float) -> Tensor:
        """Return `LayerStatistics.mean_log_kernel_density` of all layers, (L, widths)."""
        return self.kernel_means(*widths).log().mean(dim=2).T

    @cached
    def kernel_means(self, *widths: float) -> Tensor:
        """Return `KernelDensities.means` of all layers, (widths, L, n)."""
        return torch.cat([kernels.means() for kernels in self.kernels(widths)], dim=1)

    @cached
    def kernel_density_influences(self, *widths: float) -> Tensor:
        """Return `LayerStatistics.kernel_density_influences` of all layers, (widths, L, n)."""
        means, found = self.kernel_means(*widths), list[Tensor]()
        for kernels in self.kernels(widths):
            first = sum(part.shape[1] for part in found)
            own = means[:, first : first + len(kernels.lengths)]
            found.append(kernels.influences(own))
        return torch.cat(found, dim=1)

    @cached
    @rests_on("own")
    def variance(self) -> Tensor:
        """Return tr S / n (0-d), the variance summed over units."""
        require(self.n, 1)
        return self.own().x_total / self.n

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
        return self.own().shrinkage(self.widths)

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
        return torch.where(self.own().is_outweighed()[layer], torch.nan, values)


class SampleMoments(SecondMoments):
    """Second moments of samples at hand, and ridge regressions of which each fold is held out.

    Attributes:
        classes: of the labels, or none.
    """

    classes: Classes | None

    @abstractmethod
    def deviations(self, layer: int) -> Tensor:
        """Return the scaled activations of a layer minus their means, (n, p)."""

    @abstractmethod
    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        """Return the scores of all samples, (n, K), see `LayerStatistics.held_out_scores`."""

    @abstractmethod
    def held_out_errors(self, layer: int, target: int, penalty: float) -> Tensor:
        """Return ‖y - ŷ‖² (n,) of predicting the next layer, in units of its scale."""
