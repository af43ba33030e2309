"""Gaussian kernel densities of samples, from panels of their Gram matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import attrs
from torch import Tensor

from cmp_core.statistics.moments import Panel


@attrs.frozen(eq=False)
class KernelDensities:
    """The densities mᵢ = mean_j kᵢⱼ of L layers, kᵢⱼ = exp(-‖xᵢ-xⱼ‖² / 2wv), v = mean ‖x̃‖².

    Without the norm of the Gaussian kernel.

    Attributes:
        panels: yields the upper halves of the centred Gram matrices (L, n, n), see `gram_panels`.
        lengths: ‖x̃‖² in units of v, (L, n).
        variances: v, (L,).
        widths: w.
    """

    panels: Callable[[], Iterable[Panel]]
    lengths: Tensor
    variances: Tensor
    widths: Sequence[float]

    def means(self) -> Tensor:
        """Return m, (widths, L, n)."""
        total = self._zeros()
        for start, exponents in self._exponents():
            for own, width in zip(total, self.widths, strict=True):
                _add_sums(own, start, (exponents / width).exp_())
        return total / self.lengths.shape[1]

    def influences(self, means: Tensor) -> Tensor:
        """Return how much each sample moves mean_i log mᵢ, (widths, L, n), given m.

        By itself, as one of the others, and by v:
        log mᵢ - mean log m - 1 + mean_j kᵢⱼ/mⱼ + mean_ij (kᵢⱼ/mᵢ ‖xᵢ-xⱼ‖²/2wv) (‖x̃ᵢ‖²/v - 1).
        """
        shares, squares = self._zeros(), self._zeros()
        for start, exponents in self._exponents():
            for i, width in enumerate(self.widths):
                kernel = (exponents / width).exp_()
                _add_sums(squares[i], start, kernel * exponents / -width)
                _add_sums(shares[i], start, kernel, 1 / means[i])
        n, logs = self.lengths.shape[1], means.log()
        own = logs - logs.mean(dim=2, keepdim=True)
        by_variance = (squares / means).mean(dim=2, keepdim=True) / n * (self.lengths - 1)
        return own - 1 + shares / n + by_variance

    def _zeros(self) -> Tensor:
        return self.lengths.new_zeros(len(self.widths), *self.lengths.shape)

    def _exponents(self) -> Iterator[tuple[int, Tensor]]:
        """Yield panels of -‖xᵢ-xⱼ‖² / 2v."""
        halves = self.lengths / 2
        for start, grams in self.panels():
            exponents = grams / self.variances[:, None, None]
            exponents -= halves[:, start : start + grams.shape[1], None]
            exponents -= halves[:, None, start:]
            # A sample is next to itself, however narrow the kernel; NaN, without variance, stays.
            exponents.diagonal(dim1=1, dim2=2).mul_(0)
            yield start, exponents.clamp_(max=0)


def _add_sums(total: Tensor, start: int, panel: Tensor, weights: Tensor | None = None) -> None:
    """Add to the sums of all rows of symmetric matrices what a panel of the upper half gives.

    Args:
        total: (L, n).
        start: the panel's first row.
        panel: (L, m, n - start).
        weights: of the columns, (L, n); by default 1.
    """
    stop = start + panel.shape[1]
    rest = panel[:, :, stop - start :]
    if weights is not None:
        panel, rest = panel * weights[:, None, start:], rest * weights[:, start:stop, None]
    total[:, start:stop] += panel.sum(dim=2)
    total[:, stop:] += rest.sum(dim=1)
