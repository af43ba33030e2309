"""Second moments of layers: sums over samples from which many metrics follow exactly.

X (n, p) and Y (n, q) are two layers' activations of the same samples, a tilde means that the column
means are removed, kᵢ = ‖x̃ᵢ‖² and lᵢ = ‖ỹᵢ‖².
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from cmp_core.errors import UndefinedError
from cmp_core.layers.arrays import precise
from cmp_core.text import counted


def centred(activations: Tensor) -> Tensor:
    """Return activations (…, n, p) minus their column means.

    The first row is subtracted before the mean: a large common offset then costs no digits, and a
    constant column is exactly 0.

    >>> centred(torch.tensor([[1e8, 0.1], [1e8 + 8, 0.1]]))
    tensor([[-4.,  0.],
            [ 4.,  0.]])
    """
    return centre_(activations.clone())


def centre_(activations: Tensor) -> Tensor:
    """Do what `centred` does in the memory of the activations."""
    activations.sub_(activations[..., :1, :].clone())
    return activations.sub_(activations.mean(dim=-2, keepdim=True))


_PANEL = 64
"""Rows of a symmetric matrix that are computed at once, from the diagonal on."""


@attrs.frozen(eq=False)
class InnerProduct:
    """What the similarity of two layers rests on; all fields may be arrays over pairs of layers.

    Attributes:
        n: number of samples.
        squares: ‖X̃ᵀỸ‖²_F, which is also tr(K L) of the centred Gram matrices.
        lengths: Σ kᵢ lᵢ.
        x_total, y_total: Σ kᵢ and Σ lᵢ, the traces of both scatters.
    """

    n: int
    squares: Tensor
    lengths: Tensor
    x_total: Tensor
    y_total: Tensor

    @property
    def own(self) -> InnerProduct:
        """Each layer's inner product with itself, from those of all pairs: fields (L,)."""
        totals = self.y_total[0]
        return InnerProduct(
            self.n, self.squares.diagonal(), self.lengths.diagonal(), totals, totals
        )

    def hsic(self, debiased: bool = True) -> Tensor:
        """Return an estimate of ‖Σ_xy‖²_F, the squared norm of the cross-covariance.

        Debiased, it is the U-statistic over distinct samples, HSIC₁ of Song et al. 2012 with
        linear kernels; it may be negative. Otherwise it is the plain value of the sample.

        Raises:
            UndefinedError: fewer than 4 samples (2 if not debiased).
        """
        # HSIC₁ = [tr K'L' + 1ᵀK'1 1ᵀL'1 / ((n-1)(n-2)) - 2/(n-2) 1ᵀK'L'1] / (n (n-3)), K' and L'
        # with zero diagonals. The rows of the centred K sum to 0, so K'1 = -k, 1ᵀK'1 = -Σk, and
        # tr K'L' = ‖X̃ᵀỸ‖² - Σ kl: no n × n matrix is needed.
        n = self.n
        if not debiased:
            require(n, 2)
            return self.squares / (n - 1) ** 2
        require(n, 4)
        distinct = self.squares - self.lengths * (n / (n - 2))
        return (distinct + self.x_total * self.y_total / ((n - 1) * (n - 2))) / (n * (n - 3))

    def is_resolved(self) -> Tensor:
        """Return whether the debiased `hsic` of layers with themselves is more than rounding.

        One sample that is some 100,000 times as large as all others leaves nothing of them in sums
        from which its own square is subtracted.
        """
        distinct = self.hsic() * (self.n * (self.n - 3))
        return distinct.abs() >= _RESOLVED * torch.finfo(distinct.dtype).eps * self.squares

    def is_outweighed(self) -> Tensor:
        """Return whether one sample of layers has most of the variance and leaves only rounding."""
        return self.is_resolved().logical_not() & (2 * self.lengths > self.x_total.square())

    def shrinkage(self, width: int | Tensor) -> Tensor:
        """Return the intensity δ of Ledoit & Wolf 2004 for S/n, of a layer of `width` units.

        For the inner product of a layer with itself; between 0 and 1.

        Raises:
            UndefinedError: fewer than 3 samples: of two, the spread and its noise cannot be told.
        """
        require(self.n, 3)
        # Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4, lemma 3.2: δ = b²/d² with
        # d² = ‖S/n - μI‖²/p and b² the part of it that is noise, Σᵢ ‖xᵢxᵢᵀ - S/n‖²/(n² p); with
        # Σᵢ ‖xᵢxᵢᵀ‖² = Σ kᵢ² both are expanded in ‖S‖², Σ kᵢ² and tr S.
        spread = self.squares - self.x_total.square() / width  # n² p times their d²
        noise = (self.lengths - self.squares / self.n) / spread  # their b̄²/d²
        return torch.where(spread <= 0, 1.0, noise.clamp(0, 1))

    def squared_trace(self, debiased: bool = True) -> Tensor:
        """Return an estimate of (tr Σ)², for the inner product of a layer with itself.

        Debiased, it is the U-statistic of ¼ ‖xᵢ - xⱼ‖² ‖x_k - x_l‖² over four distinct samples,
        written out in Σ kᵢ, Σ kᵢ² and ‖X̃ᵀX̃‖²_F.
        """
        n = self.n
        if not debiased:
            require(n, 2)
            return self.x_total.square() / (n - 1) ** 2
        require(n, 4)
        # Chen, Zhang & Zhong 2010, doi:10.1198/jasa.2010.tm09560: the mean over distinct i, j, k, l
        # of ¼ ‖xᵢ-xⱼ‖² ‖x_k-x_l‖² is unbiased for (tr Σ)²; sums over distinct samples are sums over
        # all of them less those in which two coincide, which are Σ kᵢ² and ‖S‖².
        plain = (n * n - 3 * n + 1) * self.x_total.square() - n * (n - 1) * self.lengths
        quadruples = float(n * (n - 1) * (n - 2) * (n - 3))  # torch takes no larger int than int64
        return (plain + 2 * self.squares) / quadruples


_RESOLVED = 2.0**22
"""Roundings of a sum that a difference of sums must exceed: some 20 add up, to 5 in 10⁶ of it."""


def per_sample_within(scatter: Tensor, counts: Tensor) -> Tensor:
    """Return tr S_W / (n - K) for tr S_W (…,) and the samples of each class, (K or more,).

    NaN for one class, and where there are no more samples than classes.
    """
    n, classes = counts.sum(), (counts > 0).sum()
    return torch.where((classes > 1) & (n > classes), scatter / (n - classes), torch.nan)


def between_classes(sums: Tensor, counts: Tensor) -> Tensor:
    """Return tr S - tr S_W (0-d), given each class's sum from the mean (K, p) and count (K,).

    From another point than the mean it is larger by what tr S is then.
    """
    return (sums.square().sum(dim=1) / counts.clamp(min=1)).sum()


def require(n: int, least: int) -> None:
    """Raise `UndefinedError` where there are too few samples."""
    if n < least:
        raise UndefinedError(f"at least {counted(least, 'sample')} are needed, there are {n}")


@attrs.frozen(eq=False)
class ShiftedSamples:
    """Samples of a layer counted from a pivot, in float64 (float32 on MPS).

    Attributes:
        pivot: (p,).
        values: x, (n, p).
        lengths: ‖x‖², (n,).
        sum: Σ x, (p,).
        total: Σ ‖x‖², 0-d.
    """

    pivot: Tensor
    values: Tensor
    lengths: Tensor
    sum: Tensor
    total: Tensor

    @classmethod
    def of(cls, values: Tensor, pivot: Tensor) -> ShiftedSamples:
        """Return activations (n, p) that are counted from a pivot (p,)."""
        lengths = values.square().sum(dim=1)
        return cls(pivot, values, lengths, values.sum(dim=0), lengths.sum())


@attrs.define(eq=False)
class Products:
    """Sums over samples of products of two layers, counted from a pivot of each; they add up.

    X and Y may be one layer. With x and y counted from the pivots, k = ‖x‖² and l = ‖y‖²:

    Attributes:
        n: number of samples.
        x_pivot, y_pivot: (p,) and (q,), best near the means.
        x_sum, y_sum: Σ x (p,) and Σ y (q,).
        x_total, y_total: Σ k and Σ l.
        k_y, l_x: Σ k y (q,) and Σ l x (p,), which moving the pivot calls for.
        lengths: Σ k l.
    """

    n: int
    x_pivot: Tensor
    y_pivot: Tensor
    x_sum: Tensor
    y_sum: Tensor
    _cross: Tensor
    x_total: Tensor
    y_total: Tensor
    k_y: Tensor
    l_x: Tensor
    lengths: Tensor
    _is_half: bool = False

    @classmethod
    def of_samples(cls, x: ShiftedSamples, y: ShiftedSamples) -> Products:
        """Return the products of samples that are counted from pivots."""
        k_y = x.lengths @ y.values
        products = cls(
            n=x.values.shape[0],
            x_pivot=x.pivot,
            y_pivot=y.pivot,
            x_sum=x.sum,
            y_sum=y.sum,
            cross=k_y.new_zeros(len(x.sum), len(y.sum)),
            x_total=x.total,
            y_total=y.total,
            k_y=k_y,
            l_x=k_y if x is y else y.lengths @ x.values,
            lengths=x.lengths @ y.lengths,
        )
        products._add_cross(x, y)
        return products

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Products:
        """Return the products of activations (n, p) and (n, q), about their means."""
        sides = ((z.to(precise(z.device)), pivot(z)) for z in (x, y))
        return cls.of_samples(*(ShiftedSamples.of(z - centre, centre) for z, centre in sides))

    def update(self, x: ShiftedSamples, y: ShiftedSamples) -> None:
        """Take in more samples, counted from the same pivots, in place."""
        k_y = x.lengths @ y.values
        self.n += x.values.shape[0]
        self._add_cross(x, y)
        self.x_sum, self.y_sum = self.x_sum + x.sum, self.y_sum + y.sum
        self.x_total, self.y_total = self.x_total + x.total, self.y_total + y.total
        self.k_y = self.k_y + k_y
        self.l_x = self.l_x + (k_y if x is y else y.lengths @ x.values)
        self.lengths = self.lengths + x.lengths @ y.lengths

    def _add_cross(self, x: ShiftedSamples, y: ShiftedSamples) -> None:
        """Add Σ x yᵀ; of a layer with itself its upper half, the other when it is read."""
        if x is not y:
            self._cross.addmm_(x.values.T, y.values)
            return
        self._is_half = True
        for start in range(0, len(self._cross), _PANEL):
            rows, columns = x.values[:, start : start + _PANEL], x.values[:, start:]
            self._cross[start : start + _PANEL, start:].addmm_(rows.T, columns)

    @property
    def cross(self) -> Tensor:
        """Σ x yᵀ, (p, q)."""
        if self._is_half:
            for start in range(0, len(self._cross), _PANEL):
                stop = start + _PANEL
                self._cross[stop:, start:stop] = self._cross[start:stop, stop:].T
            self._is_half = False
        return self._cross

    @classmethod
    def sum(cls, parts: Sequence[Products]) -> Products:
        """Return the sum of products as a new one."""
        first, *others = parts
        total = attrs.evolve(first, cross=first.cross.clone())
        for other in others:
            moved = other.about(first.x_pivot, first.y_pivot)
            total.cross.add_(moved.cross)
            total._add_vectors(moved, +1)
        return total

    def __sub__(self, part: Products) -> Products:
        """Return the sums without those of some of the samples."""
        part = part.about(self.x_pivot, self.y_pivot)
        rest = attrs.evolve(self, cross=self.cross - part.cross)
        rest._add_vectors(part, -1)
        return rest

    def _add_vectors(self, other: Products, sign: int) -> None:
        for name in ("n", "x_sum", "y_sum", "x_total", "y_total", "k_y", "l_x", "lengths"):
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))

    def rescaled(self, x_factor: Tensor, y_factor: Tensor) -> Products:
        """Return the same sums of activations that are multiplied by factors."""
        k, l = x_factor.square(), y_factor.square()  # noqa: E741
        return Products(
            n=self.n,
            x_pivot=self.x_pivot * x_factor,
            y_pivot=self.y_pivot * y_factor,
            x_sum=self.x_sum * x_factor,
            y_sum=self.y_sum * y_factor,
            cross=self.cross * (x_factor * y_factor),
            x_total=self.x_total * k,
            y_total=self.y_total * l,
            k_y=self.k_y * (k * y_factor),
            l_x=self.l_x * (l * x_factor),
            lengths=self.lengths * (k * l),
        )

    def about(self, x_pivot: Tensor, y_pivot: Tensor) -> Products:
        """Return the same sums with x and y counted from other pivots.

        With x' = x - δ and y' = y - ε: k' = k - 2 x·δ + ‖δ‖², and every sum follows by expanding
        the products.
        """
        if x_pivot is self.x_pivot and y_pivot is self.y_pivot:
            return self
        n, cross = self.n, self.cross
        delta, epsilon = x_pivot - self.x_pivot, y_pivot - self.y_pivot
        d, e = delta @ delta, epsilon @ epsilon
        x_delta, y_epsilon = self.x_sum @ delta, self.y_sum @ epsilon
        x_sum, y_sum = self.x_sum - n * delta, self.y_sum - n * epsilon
        x_total = self.x_total - 2 * x_delta + n * d
        y_total = self.y_total - 2 * y_epsilon + n * e
        return Products(
            n=n,
            x_pivot=x_pivot,
            y_pivot=y_pivot,
            x_sum=x_sum,
            y_sum=y_sum,
            cross=cross.addr(delta, self.y_sum, alpha=-1).addr_(x_sum, epsilon, alpha=-1),
            x_total=x_total,
            y_total=y_total,
            k_y=self.k_y - 2 * (delta @ cross) + d * self.y_sum - x_total * epsilon,
            l_x=self.l_x - 2 * (cross @ epsilon) + e * self.x_sum - y_total * delta,
            lengths=self.lengths
            - 2 * (self.k_y @ epsilon + self.l_x @ delta)
            + 4 * delta @ (cross @ epsilon)
            + e * (self.x_total - 2 * x_delta)
            + d * (self.y_total - 2 * y_epsilon)
            + n * d * e,
        )

    # About the samples' own means

    @property
    def x_mean(self) -> Tensor:
        """Mean of X, (p,)."""
        return self.x_pivot + self.x_sum / self.n

    @property
    def y_mean(self) -> Tensor:
        """Mean of Y, (q,)."""
        return self.y_pivot + self.y_sum / self.n

    @property
    def y_scatter(self) -> Tensor:
        """Σ ‖y - ȳ‖², 0-d."""
        return self.y_total - self.y_sum @ self.y_sum / self.n

    def centred_cross(self) -> Tensor:
        """Return X̃ᵀỸ (p, q)."""
        return self.cross.addr(self.x_sum, self.y_sum, alpha=-1 / self.n)

    def inner(self) -> InnerProduct:
        """Return what the similarity of both layers rests on.

        Raises:
            UndefinedError: there are no samples.
        """
        require(self.n, 1)
        x_delta, y_delta = self.x_sum / self.n, self.y_sum / self.n
        d, e = x_delta @ x_delta, y_delta @ y_delta
        # As in `about`, with pivots in the means: Σ x and Σ y are n times what these move by.
        lengths = (
            self.lengths
            - 2 * (self.k_y @ y_delta + self.l_x @ x_delta)
            + 4 * x_delta @ (self.cross @ y_delta)
            + e * self.x_total
            + d * self.y_total
            - 3 * self.n * d * e
        )
        x_total, y_total = self.x_total - self.n * d, self.y_total - self.n * e
        return InnerProduct(self.n, squared_norm(self.centred_cross()), lengths, x_total, y_total)


def pivot(x: Tensor) -> Tensor:
    """Return a point (p,) near the means of x (n, p), the value itself for constant columns."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return (x[0] + (x - x[:1]).mean(dim=0)).to(precise(x.device))


def over_pairs(squares: Tensor, lengths: Tensor) -> InnerProduct:
    """Return the inner products of all pairs of L layers from ‖X̃ᵀỸ‖²_F (L, L) and kᵢ (L, n)."""
    totals = lengths.sum(dim=1)
    return InnerProduct(
        lengths.shape[1], squares, lengths @ lengths.T, totals[:, None], totals[None, :]
    )


Panel = tuple[int, Tensor]
"""A first row i and the rows i to i+m of symmetric matrices from column i on, (…, m, n-i)."""


def gram_panels(rows: Tensor) -> Iterator[Panel]:
    """Yield the upper half of the Gram matrices of rows (…, n, p), panel by panel."""
    for start in range(0, rows.shape[-2], _PANEL):
        yield start, rows[..., start : start + _PANEL, :] @ rows[..., start:, :].mT


def gram(rows: Tensor) -> Tensor:
    """Return the Gram matrices (…, n, n) of rows (…, n, p), of which half is computed."""
    n = rows.shape[-2]
    matrices = rows.new_empty(*rows.shape[:-2], n, n)
    for start, panel in gram_panels(rows):
        stop = start + panel.shape[-2]
        matrices[..., start:stop, start:] = panel
        matrices[..., stop:, start:stop] = panel[..., stop - start :].mT
    return matrices


def products_of_grams(grams: Sequence[Iterable[Panel]]) -> Tensor:
    """Return tr(KᵢKⱼ), (L, L), from the upper halves of L Gram matrices (1, n, n)."""
    squares = []
    for of_layers in zip(*grams, strict=True):
        panels = torch.cat([panel for _, panel in of_layers])
        square, whole = panels[:, :, : panels.shape[1]].flatten(1), panels.flatten(1)
        squares.append(2 * (whole @ whole.T) - square @ square.T)  # the lower half is as large
    return torch.stack(squares).sum(dim=0)


def squared_norm(matrix: Tensor) -> Tensor:
    """Return ‖M‖²_F, 0-d."""
    norm: Tensor = torch.linalg.vector_norm(matrix)
    return norm.square()


def eigenvalues(matrices: Tensor) -> Tensor:
    """Return the eigenvalues (…, m) of positive semidefinite matrices (…, m, m), largest first.

    A matrix that is not finite gives NaN: LAPACK would raise, and reading a flag would hold up a
    GPU. What rounding leaves of an eigenvalue of 0, in either sign, is 0.
    """
    is_finite = matrices.isfinite().all(dim=-1).all(dim=-1)[..., None]
    values = torch.linalg.eigvalsh(torch.where(is_finite[..., None], matrices, 0.0))
    values = values.flip(-1)
    rounding = matrices.shape[-1] * torch.finfo(values.dtype).eps * values[..., :1]
    return torch.where(is_finite, values.where(values > rounding, 0.0), torch.nan)


def log_det(matrices: Tensor, scale: Tensor, floor: Tensor, width: int | Tensor) -> Tensor:
    """Return log det(scale S + floor I_p), (…,); NaN where that is singular but for rounding.

    Args:
        matrices: S itself or the Gram matrix, which has the same eigenvalues but for zeros,
            (…, m, m).
        scale, floor: (…,).
        width: p.
    """
    m = matrices.shape[-1]
    shifted = padded(matrices * scale[..., None, None])
    diagonal = shifted.diagonal(dim1=-2, dim2=-1)
    diagonal[..., :m] += floor[..., None]
    diagonal[..., m:] = 1
    factor, failed = torch.linalg.cholesky_ex(shifted)
    pivots = factor.diagonal(dim1=-2, dim2=-1)[..., :m].square()
    least = m * torch.finfo(pivots.dtype).eps * pivots.amax(dim=-1)
    others = (width - m) * floor.log()  # directions that only one form has
    value = pivots.log().sum(dim=-1) + others
    return torch.where((failed == 0) & (pivots.amin(dim=-1) > least), value, torch.nan)


def is_wide(n: int, width: int) -> bool:
    """Return whether the Gram matrix of n samples is smaller than the scatter of a layer."""
    return n <= width


def padded(matrices: Tensor) -> Tensor:
    """Return matrices (…, m, m), with eight more rows and columns of 0 where 128 divides m.

    The rows of such a matrix fall into the same few lines of a processor's cache, and LAPACK takes
    twice as long for its Cholesky decompositions.
    """
    return pad(matrices, (0, 8, 0, 8)) if matrices.shape[-1] % 128 == 0 else matrices
