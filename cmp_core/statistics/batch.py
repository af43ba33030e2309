"""The second moments of samples at hand: a batch, or the fixed subset of a split.

Of no more samples than the widest layer has units, and than `LARGEST_GRAM`, all layers take Gram
matrices, which are stacked; otherwise each takes the smaller of Gram matrix and scatter.
"""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, combinations, groupby

import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import binary_scales
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.cache import cached
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.fits import Fitting, LinearFits
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.gram import GramRidge, Grams
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.kernels import KernelDensities
from cmp_core.statistics.moments import (
    InnerProduct,
    Panel,
    between_classes,
    centre_,
    gram,
    gram_panels,
    is_wide,
    log_det,
    over_pairs,
    per_sample_within,
    products_of_grams,
    require,
    squared_norm,
)
from cmp_core.statistics.second_moments import SampleMoments

LARGEST_GRAM = 1024
"""Most samples whose Gram matrices are cached for all layers at once."""

_MOST_KEPT = 2**25
"""Most entries, of the upper halves of all layers' Gram matrices, that are kept for several uses:
256 MiB."""


def moments_at_hand(
    layers: Sequence[Layer], folds: Folds, num_classes: int, guards: Guards
) -> SampleMoments:
    """Return the second moments of samples in the cheaper form.

    Args:
        layers: all layers, with activations (n, p).
        folds: of the samples.
        num_classes: C.
        guards: see `StatisticsCache`.
    """
    classes = None if folds.labels is None else Classes(num_classes, folds.labels)
    widest = max(layer.activations.shape[1] for layer in layers)
    is_gram = len(folds.sample_ids) <= min(widest, LARGEST_GRAM)
    form = GramMoments if is_gram else MixedMoments
    return form(layers, folds, classes, guards)


class GramMoments(SampleMoments):
    """Second moments from Gram matrices, stacked: for fewer samples than units."""

    def __init__(
        self, layers: Sequence[Layer], folds: Folds, classes: Classes | None, guards: Guards
    ) -> None:
        widths = [layer.activations.shape[1] for layer in layers]
        super().__init__(len(folds.sample_ids), widths, folds.sample_ids.device, guards)
        self._layers, self._groups = layers, width_groups(layers)
        self._folds, self.classes = folds, classes

    @cached
    def scales(self) -> Tensor:
        return _scales(self._layers)

    @cached
    def centred(self, group: range) -> Tensor:
        """Return the scaled activations minus their means, (l, n, p), of l layers of one width."""
        scales = self.scales()[group.start : group.stop, None, None]
        stacked = torch.stack([self._layers[i].activations for i in group])
        return centre_(stacked.to(scales.dtype).div_(scales))

    def deviations(self, layer: int) -> Tensor:
        group = self._group_of(layer)
        return self.centred(group)[layer - group.start]

    def mean(self, layer: int) -> Tensor:
        require(self.n, 1)
        group = self._group_of(layer)
        return self.means(group)[layer - group.start]

    @cached
    def means(self, group: range) -> Tensor:
        """Return the means of l layers of one width, (l, p)."""
        rows = self.centred(group)
        first = torch.stack([self._layers[i].activations[0] for i in group]).to(rows.dtype)
        return first / self.scales()[group.start : group.stop, None] - rows[:, 0]

    def unit_variances(self, layer: int) -> Tensor:
        group = self._group_of(layer)
        return self.variances_of_units(group)[layer - group.start]

    @cached
    def variances_of_units(self, group: range) -> Tensor:
        """Return the variances of the units of l layers of one width, (l, p)."""
        return torch.stack([rows.square().mean(dim=0) for rows in self.centred(group)])

    def _group_of(self, layer: int) -> range:
        return next(group for group in self._groups if layer in group)

    @cached
    def grams(self) -> Grams:
        """Return the Gram matrices of all layers."""
        return Grams.of([self.centred(group) for group in self._groups])

    @cached
    def inner(self) -> InnerProduct:
        return self.grams().inner()

    @cached
    def within_class_variance(self) -> Tensor:
        targets, _ = one_hot(self._folds, self.classes)
        return self.grams().within(self._of_samples(targets))

    def _of_samples(self, rows: Tensor) -> Tensor:
        """Return the rows (n, …) of the samples that the moments are of."""
        return rows

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return log_det(self.grams().matrices, scale, floor, self.widths)

    def scatter(self, layer: int) -> Tensor:
        return self.grams().matrices[layer]

    def kernels(self, widths: Sequence[float]) -> Iterator[KernelDensities]:
        grams, variances = self.grams(), self.variance()
        lengths = grams.lengths / variances[:, None]
        yield KernelDensities(lambda: iter([(0, grams.matrices)]), lengths, variances, widths)

    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        return self._held_out_scores(penalty)[layer]

    @cached
    def _held_out_scores(self, penalty: float) -> Tensor:
        """Return the scores of all layers, (L, n, K)."""
        targets, has_classes = one_hot(self._folds, self.classes)
        return torch.where(has_classes, self.ridge(penalty).predictions(targets), torch.nan)

    def held_out_errors(self, layer: int, target: int, penalty: float) -> Tensor:
        if target != layer + 1:
            raise no_next(self._layers[layer].name, self._layers[target].name)
        return self._held_out_errors(penalty)[layer]

    @cached
    def _held_out_errors(self, penalty: float) -> Tensor:
        """Return the squared errors of each layer but the last about the next one, (L-1, n)."""
        return self.ridge(penalty).squared_errors()

    @cached
    def ridge(self, penalty: float) -> GramRidge:
        """Return the held-out ridge regressions on all layers."""
        require(self.n, FOLDS)
        return GramRidge.of(self.grams(), self.widths, self._folds.order, penalty)


class GramMomentsWithout(GramMoments):
    """Second moments of some of the samples, from the Gram matrices of all.

    Little is kept in memory: there is one of these for every group that is left out.
    """

    def __init__(self, whole: GramMoments, kept: Tensor) -> None:
        """Take the samples at the positions `kept`, (m,)."""
        super().__init__(whole._layers, whole._folds, whole.classes, Guards())
        self._whole, self._kept, self.n = whole, kept, len(kept)

    def scales(self) -> Tensor:
        return self._whole.scales()

    def centred(self, group: range) -> Tensor:
        return centre_(self._whole.centred(group)[:, self._kept])

    def means(self, group: range) -> Tensor:
        shift = self._whole.centred(group)[:, self._kept].mean(dim=1)
        return self._whole.means(group) + shift

    def grams(self) -> Grams:
        return self._whole.grams().of_samples(self._kept)

    def _of_samples(self, rows: Tensor) -> Tensor:
        return rows[self._kept]


class MixedMoments(SampleMoments):
    """Second moments of layers of which not all have as many units as samples, or of many samples.

    Of each layer from the smaller of Gram matrix and scatter.
    """

    def __init__(
        self, layers: Sequence[Layer], folds: Folds, classes: Classes | None, guards: Guards
    ) -> None:
        widths = [layer.activations.shape[1] for layer in layers]
        super().__init__(len(folds.sample_ids), widths, folds.sample_ids.device, guards)
        self._layers, self._folds, self.classes = layers, folds, classes
        self._is_wide = [is_wide(self.n, width) for width in widths]

    @cached
    def scales(self) -> Tensor:
        return _scales(self._layers)

    @cached
    def deviations(self, layer: int) -> Tensor:
        own, scale = self._layers[layer].activations, self.scales()[layer]
        if own.dtype == scale.dtype:
            return centre_(own / scale)
        return centre_(own.to(scale.dtype).div_(scale))

    def _all_deviations(self) -> list[Tensor]:
        return [self.deviations(i) for i in range(len(self._layers))]

    def mean(self, layer: int) -> Tensor:
        require(self.n, 1)
        scale = self.scales()[layer]
        first = self._layers[layer].activations[0].to(scale.dtype) / scale
        return first - self.deviations(layer)[0]

    def unit_variances(self, layer: int) -> Tensor:
        return self.deviations(layer).square().mean(dim=0)

    @cached
    def lengths(self) -> Tensor:
        """Return kᵢ, (L, n)."""
        norms = [torch.linalg.vector_norm(rows, dim=1) for rows in self._all_deviations()]
        return torch.stack(norms).square()

    @cached
    def variance(self) -> Tensor:
        require(self.n, 1)
        return self.lengths().sum(dim=1) / self.n

    @cached
    def within_class_variance(self) -> Tensor:
        targets, _ = one_hot(self._folds, self.classes)
        counts, all_rows = targets.sum(dim=0), self._all_deviations()
        between = torch.stack([between_classes(targets.T @ rows, counts) for rows in all_rows])
        return per_sample_within(self.lengths().sum(dim=1) - between, counts)

    @cached
    def scatter(self, layer: int) -> Tensor:
        rows = self.deviations(layer)
        return gram(rows if self._is_wide[layer] else rows.T)

    @cached
    def own(self) -> InnerProduct:
        squares = [squared_norm(self.scatter(i)) for i in range(len(self._layers))]
        lengths, totals = self.lengths().square().sum(dim=1), self.lengths().sum(dim=1)
        return InnerProduct(self.n, torch.stack(squares), lengths, totals, totals)

    @cached
    def inner(self) -> InnerProduct:
        # n² Σp / 2 multiplications build Gram matrices and L²n² / 2 compare them; n (Σp)² / 2 build
        # cross-covariances. All in float64: in float32 the square of one large sample, which
        # debiasing takes away again, would leave nothing of the others.
        count = len(self._layers)
        units = sum(layer.activations.shape[1] for layer in self._layers)
        if self.n * (units + count**2) < units**2:
            squares = products_of_grams([self._gram(i)() for i in range(count)])
        else:
            squares = self.own().squares.diag()
            for i, j in combinations(range(count), 2):
                cross = self.deviations(i).T @ self.deviations(j)
                squares[i, j] = squares[j, i] = squared_norm(cross)
        return over_pairs(squares, self.lengths())

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        of_each = zip(scale, floor, self.widths, strict=True)
        return torch.stack([log_det(self.scatter(i), *own) for i, own in enumerate(of_each)])

    def kernels(self, widths: Sequence[float]) -> Iterator[KernelDensities]:
        for i, (lengths, variance) in enumerate(zip(self.lengths(), self.variance(), strict=True)):
            yield KernelDensities(self._gram(i), (lengths / variance)[None], variance[None], widths)

    def _gram(self, layer: int) -> Callable[[], Iterable[Panel]]:
        """Return what yields the upper half of a layer's Gram matrix, (1, n, n)."""
        of_all = len(self._layers) * self.n**2 // 2
        if of_all > _MOST_KEPT:
            return partial(gram_panels, self.deviations(layer)[None])
        return partial(self._kept_panels, layer)

    @cached
    def _kept_panels(self, layer: int) -> list[Panel]:
        return list(gram_panels(self.deviations(layer)[None]))

    def _gram_moments(self, *layers: int) -> GramMoments:
        chosen = [self._layers[i] for i in layers]
        return GramMoments(chosen, self._folds, self.classes, Guards())

    def held_out_scores(self, layer: int, penalty: float) -> Tensor:
        if self._is_wide[layer]:
            return self._gram_moments(layer).held_out_scores(0, penalty)
        one_hot(self._folds, self.classes)  # raises where there are no labels
        fits, own = self._fits(penalty, "labels"), self._layers[layer]
        rows = fits.shifted(own.name, own.activations)
        return fits.scores(own.name, rows, self._folds.sample_ids)

    def held_out_errors(self, layer: int, target: int, penalty: float) -> Tensor:
        both = self._layers[layer], self._layers[target]
        names = both[0].name, both[1].name
        if target != layer + 1:
            raise no_next(*names)
        if self._is_wide[layer] or self._is_wide[target]:
            return self._gram_moments(layer, target).held_out_errors(0, 1, penalty)
        fits = self._fits(penalty, "next")
        x, y = (fits.shifted(own.name, own.activations) for own in both)
        return fits.squared_errors(*names, x, y, self._folds.sample_ids)

    @cached
    def _fits(self, penalty: float, *targets: str) -> LinearFits:
        """Return the ridge regressions on the narrow layers, each fold held out."""
        ids, labels = self._folds.sample_ids, self._folds.labels
        fitting = Fitting(
            frozenset(targets), self.n, self.classes, self._folds, ids.device, penalty=penalty
        )
        narrow = [own for own, wide in zip(self._layers, self._is_wide, strict=True) if not wide]
        fitting.update(narrow, ids, labels)
        return fitting.fits()


def _scales(layers: Iterable[Layer]) -> Tensor:
    """Return the power of two by which the activations of each layer are divided, (L,)."""
    return binary_scales([layer.activations for layer in layers])


def one_hot(folds: Folds, classes: Classes | None) -> tuple[Tensor, Tensor]:
    """Return one-hot labels (n, K), and whether they are of two classes or more, (0-d) bool."""
    if folds.labels is None or classes is None:
        raise UndefinedError("there are no labels")
    return classes.one_hot(folds.labels), classes.is_present.sum() > 1


def no_next(layer: str, target: str) -> UsageError:
    """Return the error about a layer that is not the next one."""
    return UsageError(f"a layer predicts the next one: {layer} does not predict {target}")


def width_groups(layers: Sequence[Layer]) -> list[range]:
    """Return the positions of neighbouring layers of one width and type, which can be stacked."""
    kinds = [(layer.activations.shape[1], layer.activations.dtype) for layer in layers]
    lengths = [len(list(group)) for _, group in groupby(kinds)]
    return [range(stop - n, stop) for n, stop in zip(lengths, accumulate(lengths), strict=True)]
