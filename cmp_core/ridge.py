"""Ridge regression held out by folds, from Gram matrices or from sums over a split.

Both forms give the same predictions: for every sample those of the fit to the other folds, with an
intercept, and with the penalty λ ‖W‖² where λ = penalty * (mean eigenvalue of the scatter X̃ᵀX̃ of
all measured samples). No label enters λ, so nothing leaks.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from cmp_core.sampling import FOLDS
from cmp_core.second_moments import Grams, Products

PENALTY = 0.01
"""The default penalty, relative to the mean eigenvalue of the scatter."""


def strength(total: Tensor, width: int, penalty: float) -> Tensor:
    """Return λ for a scatter of trace `total`; NaN where nothing varies, as there is no fit."""
    return torch.where(total > 0, total * (penalty / width), torch.nan)


def residual_operators(
    grams: Grams, widths: Sequence[int], order: Tensor, penalty: float
) -> Tensor:
    """Return M (L, n, n) with M Y = held-out residuals of any targets Y (n, q), per layer.

    With the hat matrix H = 11ᵀ/n + K(K + λI)⁻¹ the residuals of a left-out fold S are
    (I - H_SS)⁻¹ ((I - H) Y)_S, exactly those of a fit to the other folds.

    Args:
        grams: of L layers.
        widths: number of units of each layer.
        order: the order in which samples are dealt to the folds, from `deal`.
        penalty: relative to the mean eigenvalue.
    """
    matrices = grams.matrices
    n = matrices.shape[1]
    eye = torch.eye(n, dtype=matrices.dtype, device=matrices.device)
    totals = zip(grams.lengths.sum(dim=1), widths, strict=True)
    lambdas = torch.stack([strength(total, width, penalty) for total, width in totals])
    factor, _ = torch.linalg.cholesky_ex(matrices + lambdas[:, None, None] * eye)
    complement = lambdas[:, None, None] * torch.cholesky_inverse(factor) - 1 / n  # I - H
    residuals = torch.empty_like(complement)
    for fold in range(FOLDS):
        left_out = order[fold::FOLDS]
        rows = complement[:, left_out]
        residuals[:, left_out] = torch.linalg.solve_ex(rows[:, :, left_out], rows)[0]
    return residuals


@attrs.frozen(eq=False)
class Training:
    """What a fit to all folds but one needs of X: its mean (p,) and the factor of X̃ᵀX̃ + λI."""

    mean: Tensor
    factor: Tensor

    def fit(self, cross: Products) -> Fit:
        """Return the fit to products of X and targets Y over the training folds."""
        cross = cross.about_own_means()
        weights = torch.cholesky_solve(cross.cross, self.factor)
        return Fit(self.mean, cross.y_pivot, weights)


@attrs.frozen(eq=False)
class Fit:
    """A linear map with an intercept: ŷ = ȳ + (x - x̄) W, with W (p, q)."""

    x_mean: Tensor
    y_mean: Tensor
    weights: Tensor

    @property
    def intercept(self) -> Tensor:
        """ȳ - x̄ W, (q,)."""
        return self.y_mean - self.x_mean @ self.weights

    def squared_error(self, own: Products, cross: Products) -> Tensor:
        """Return Σ ‖y - ŷ‖² over samples given by their products X with X, and X with Y."""
        own = own.about(self.x_mean, self.x_mean)
        cross = cross.about(self.x_mean, self.y_mean)
        w = self.weights
        return cross.y_total - 2 * (w * cross.cross).sum() + (w * (own.cross @ w)).sum()


def trainings(own: Sequence[Products], penalty: float) -> list[Training]:
    """Return for every fold what a fit to the others needs, given the folds' products of X with X.

    A fold without samples is left out by nobody: its entry fits all samples.
    """
    total = Products.sum(own)
    whole = total.about_own_means()
    width = len(whole.x_pivot)
    penalties = strength(whole.x_total, width, penalty) * whole.cross.new_ones(width)
    others = [(total - fold).about_own_means() for fold in own]
    return [
        Training(other.x_pivot, torch.linalg.cholesky_ex(other.cross + penalties.diag())[0])
        for other in others
    ]


def held_out_r2(
    x_trainings: Sequence[Training], own: Sequence[Products], cross: Sequence[Products]
) -> Tensor:
    """Return 1 - Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖², where ŷ comes from the fit to the other folds.

    ȳ is the mean over all samples, so a constant prediction reads a little below 0.
    """
    total = Products.sum(cross)
    errors = [
        training.fit(total - fold_cross).squared_error(fold_own, fold_cross)
        for training, fold_own, fold_cross in zip(x_trainings, own, cross, strict=True)
    ]
    return 1 - torch.stack(errors).sum() / total.about_own_means().y_total
