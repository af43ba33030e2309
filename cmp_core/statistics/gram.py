"""Gram matrices of layers, and ridge regression held out by folds in closed form from them.

It gives the predictions of `fits.LinearFits` with a penalty, without a matrix of units: for every
sample those of the fit to the other folds, with an intercept.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from cmp_core.layers.arrays import precise
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.least_squares import ridge_lambda
from cmp_core.statistics.moments import InnerProduct, gram, over_pairs, per_sample_within


@attrs.frozen(eq=False)
class Grams:
    """Centred Gram matrices K = X̃X̃ᵀ of L layers over the same n samples.

    Attributes:
        matrices: (L, n, n).
        lengths: kᵢ, (L, n).
    """

    matrices: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, rows: Sequence[Tensor]) -> Grams:
        """Return the Gram matrices of centred activations (l, n, p) of l layers each.

        In float64, and centred once more: a small ridge penalty would magnify what float32 rounds
        off, and most of all what it leaves along (1, …, 1).
        """
        return cls._centred(torch.cat([gram(x.to(precise(x.device))) for x in rows]))

    @classmethod
    def _centred(cls, matrices: Tensor) -> Grams:
        """Centre Gram matrices (L, n, n) in their memory."""
        means = matrices.mean(dim=1, keepdim=True)
        rest = means.mean(dim=2, keepdim=True)
        matrices.sub_(means).sub_(means.transpose(1, 2)).add_(rest)
        return cls(matrices, matrices.diagonal(dim1=1, dim2=2))

    def of_samples(self, where: Tensor) -> Grams:
        """Return the Gram matrices of the samples at some positions (m,)."""
        return self._centred(self.matrices[:, where][:, :, where])

    def within(self, targets: Tensor) -> Tensor:
        """Return the variance within classes of each layer, (L,), for one-hot labels (n, K).

        A class of m samples with indicator y has the mean X̃ᵀy/m, whose squared length is yᵀKy/m².
        """
        counts = targets.sum(dim=0)
        between = ((self.matrices @ targets) * targets).sum(dim=1)
        scatter = self.lengths.sum(dim=1) - (between / counts.clamp(min=1)).sum(dim=1)
        return per_sample_within(scatter, counts)

    def inner(self) -> InnerProduct:
        """Return the inner products of all pairs of layers, as fields that broadcast to (L, L)."""
        flat = self.matrices.flatten(1)
        return over_pairs(flat @ flat.T, self.lengths)


@attrs.frozen(eq=False)
class GramRidge:
    """Ridge regression on L layers over the same n samples, in Gram form.

    With the hat matrix H = 11ᵀ/n + K(K + λI)⁻¹, the held-out residuals of a fold S are
    (I - H_SS)⁻¹ ((I - H) Y)_S, exactly those of a fit to the other folds, with λ as it is for all
    samples. Samples are ordered by fold, in blocks of one size m: where folds differ in size, the
    smaller ones are padded with dummy samples, whose rows of K are 0.

    Attributes:
        grams: the layers' Gram matrices, (L, folds m, folds m).
        complement: I - H, of the same shape.
        inverses: (I - H_SS)⁻¹, (L, folds, m, m).
        members: the sample in each place, n for padding, (folds m,).
        n: number of samples.
    """

    grams: Tensor
    complement: Tensor
    inverses: Tensor
    members: Tensor
    n: int

    @classmethod
    def of(cls, grams: Grams, widths: Tensor, order: Tensor, penalty: float) -> GramRidge:
        """Prepare the layers of Gram matrices.

        Args:
            grams: of L layers.
            widths: number of units of each layer, (L,).
            order: the order in which samples are assigned to folds, see `fold_order`.
            penalty: relative to the mean eigenvalue.
        """
        # The fit to the others predicts Ŷ for S, and so does the fit to all samples once Y_S is
        # replaced by Ŷ: there (I - H) times the targets is 0 in S. Subtracted from ((I - H) Y)_S,
        # that leaves (I - H_SS) (Y - Ŷ)_S. Pahikkala et al. 2012, doi:10.1007/s10994-012-5287-6.
        # And I - K(K + λI)⁻¹ = λ(K + λI)⁻¹, so one inverse gives H.
        n = order.shape[0]
        lambdas = ridge_lambda(grams.lengths.sum(dim=1), widths, penalty)
        members = torch.cat([order, order.new_full((-n % FOLDS,), n)]).view(-1, FOLDS).T.flatten()
        by_fold = pad(grams.matrices, (0, 1, 0, 1))[:, members].mT[:, members]  # symmetric
        regularised = by_fold.clone()
        regularised.diagonal(dim1=1, dim2=2).add_(lambdas[:, None])
        real = (members < n).to(by_fold.dtype)
        factor = torch.linalg.cholesky_ex(regularised)[0]  # half of the work of an inverse by LU
        complement = torch.cholesky_inverse(factor)
        complement.mul_(lambdas[:, None, None]).sub_(torch.outer(real, real / n))
        m = len(members) // FOLDS
        blocks = complement.view(-1, FOLDS, m, FOLDS, m).diagonal(dim1=1, dim2=3)
        inverses = torch.linalg.inv_ex(blocks.permute(0, 3, 1, 2))[0]
        return cls(by_fold, complement, inverses, members, n)

    def predictions(self, targets: Tensor) -> Tensor:
        """Return ŷ (L, n, q) for targets (n, q)."""
        residuals = self.complement @ pad(targets, (0, 0, 0, 1))[self.members]
        held_out = self.inverses @ self._by_fold(residuals)
        return targets - held_out.flatten(1, 2)[:, self._places]

    def squared_errors(self) -> Tensor:
        """Return ‖y - ŷ‖² (L-1, n) of predicting each layer but the first from the one before.

        The residuals' own Gram matrix in a fold is A P A with A = (I - H_SS)⁻¹ and
        P = ((I - H) K_y (I - H))_SS; its diagonal is wanted.
        """
        complement, inverses = self.complement[:-1], self.inverses[:-1]
        left = self._by_fold(complement @ self.grams[1:])
        products = left @ self._by_fold(complement).mT
        errors = (inverses @ products * inverses).sum(dim=3).flatten(1)
        return errors[:, self._places]

    @property
    def _places(self) -> Tensor:
        """Where each sample stands among the members, (n,)."""
        return self.members.argsort()[: self.n]

    def _by_fold(self, rows: Tensor) -> Tensor:
        """Return a tensor (L, folds m, q) as (L, folds, m, q)."""
        return rows.view(len(rows), FOLDS, -1, rows.shape[-1])
