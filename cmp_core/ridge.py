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


def strength(total: Tensor, width: int | Tensor, penalty: float) -> Tensor:
    """Return λ for a scatter of trace `total`; NaN where nothing varies, as there is no fit."""
    return torch.where(total > 0, total * penalty / width, torch.nan)


@attrs.frozen(eq=False)
class HeldOut:
    """Ridge regression on L layers over the same n samples, in Gram form.

    With the hat matrix H = 11ᵀ/n + K(K + λI)⁻¹, the held-out residuals of a fold S are
    (I - H_SS)⁻¹ ((I - H) Y)_S, exactly those of a fit to the other folds. The folds are padded to
    one size, so that all of them are solved together.

    Attributes:
        complement: I - H, (L, n, n).
        members: positions of each fold's samples, (folds, m); a padded place repeats a sample.
        is_member: which places hold a sample, (folds, m).
        inverses: (I - H_SS)⁻¹, (L, folds, m, m), 0 in the padding.
    """

    complement: Tensor
    members: Tensor
    is_member: Tensor
    inverses: Tensor

    @classmethod
    def of(cls, grams: Grams, widths: Tensor, order: Tensor, penalty: float) -> HeldOut:
        """Prepare the layers of Gram matrices.

        Args:
            grams: of L layers.
            widths: number of units of each layer, (L,).
            order: the order in which samples are dealt to the folds, from `deal`.
            penalty: relative to the mean eigenvalue.
        """
        n, device = len(order), order.device
        lambdas = strength(grams.lengths.sum(dim=1), widths, penalty)
        regularised = grams.matrices.clone()
        regularised.diagonal(dim1=1, dim2=2).add_(lambdas[:, None])
        complement = torch.linalg.inv_ex(regularised)[0].mul_(lambdas[:, None, None]).sub_(1 / n)
        places = torch.arange(-(-n // FOLDS) * FOLDS, device=device).view(-1, FOLDS).T
        is_member = places < n
        members = order[places.clamp(max=n - 1)]
        both = is_member[:, :, None] & is_member[:, None, :]
        blocks = complement[:, members[:, :, None], members[:, None, :]]
        eye = torch.eye(members.shape[1], dtype=blocks.dtype, device=device)
        inverses = torch.linalg.inv_ex(torch.where(both, blocks, eye))[0]
        return cls(complement, members, is_member, torch.where(both, inverses, 0))

    def predictions(self, targets: Tensor) -> Tensor:
        """Return ŷ (L, n, q) for targets (n, q)."""
        residuals = self.inverses @ (self.complement @ targets)[:, self.members]
        predicted = targets.expand(len(residuals), -1, -1).clone()
        predicted[:, self.members[self.is_member]] -= residuals[:, self.is_member]
        return predicted

    def squared_errors(self, targets: Tensor) -> Tensor:
        """Return Σ ‖y - ŷ‖² (L,) of targets known by their Gram matrices (L, n, n).

        The residuals' own Gram matrix in a fold is A P A with A = (I - H_SS)⁻¹ and
        P = ((I - H) K_y (I - H))_SS; its trace is wanted.
        """
        inner = self.complement @ targets @ self.complement
        blocks = inner[:, self.members[:, :, None], self.members[:, None, :]]
        return (self.inverses @ blocks * self.inverses).sum(dim=(1, 2, 3))

    def first(self, count: int) -> HeldOut:
        """Return the first layers alone."""
        return HeldOut(self.complement[:count], self.members, self.is_member, self.inverses[:count])


@attrs.frozen(eq=False)
class Training:
    """What a fit to all folds but one needs of X: its mean (p,) and the factor of X̃ᵀX̃ + λI."""

    x_mean: Tensor
    factor: Tensor

    def fit(self, cross: Products) -> Fit:
        """Return the fit to products of X with targets Y over the training folds."""
        weights = torch.cholesky_solve(cross.centred_cross(), self.factor)
        return Fit(self.x_mean, cross.y_mean, weights)


@attrs.frozen(eq=False)
class Fit:
    """A linear map with an intercept: ŷ = ȳ + Wᵀ(x - x̄), with W (p, q)."""

    x_mean: Tensor
    y_mean: Tensor
    weights: Tensor

    @property
    def intercept(self) -> Tensor:
        """ȳ - Wᵀx̄, (q,)."""
        return self.y_mean - self.x_mean @ self.weights

    def squared_error(self, own: Products, cross: Products) -> Tensor:
        """Return Σ ‖y - ŷ‖² over samples known by their products of X with X, and X with Y.

        With x = δ + (x - x̄) and y = ε + (y - ȳ) counted from the pivots, the error of a sample is
        y - Wᵀx - c with c = ε - Wᵀδ, and its square is expanded.
        """
        w, n = self.weights, own.n
        c = (self.y_mean - cross.y_pivot) - (self.x_mean - cross.x_pivot) @ w
        predicted = cross.x_sum @ w
        return (
            cross.y_total
            - 2 * (w * cross.cross).sum()
            + (w * (own.cross @ w)).sum()
            - 2 * c @ (cross.y_sum - predicted)
            + n * c @ c
        )


def trainings(own: Sequence[Products], penalty: float) -> list[Training]:
    """Return for every fold what a fit to the others needs.

    Args:
        own: the folds' products of X with X.
        penalty: relative to the mean eigenvalue.
    """
    total = Products.sum(own)
    lambda_ = strength(total.y_scatter, len(total.x_pivot), penalty)
    result = []
    for fold in own:
        others = total - fold
        matrix = others.centred_cross()
        matrix.diagonal().add_(lambda_)
        result.append(Training(others.x_mean, torch.linalg.cholesky_ex(matrix)[0]))
    return result


def held_out_r2(
    x_trainings: Sequence[Training], own: Sequence[Products], cross: Sequence[Products]
) -> Tensor:
    """Return 1 - Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖², where ŷ comes from the fit to the other folds.

    ȳ is the mean over all samples, so a constant prediction reads a little below 0.

    Args:
        x_trainings: from `trainings`.
        own: the folds' products of X with X.
        cross: the folds' products of X with Y, about the same pivots.
    """
    total = Products.sum(cross)
    errors = [
        training.fit(total - fold_cross).squared_error(fold_own, fold_cross)
        for training, fold_own, fold_cross in zip(x_trainings, own, cross, strict=True)
    ]
    return 1 - torch.stack(errors).sum() / total.y_scatter
