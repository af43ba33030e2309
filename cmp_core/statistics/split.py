"""The statistics of a whole split, from what its chunks leave behind."""

# ruff: noqa: D102 (SecondMoments says what the methods return)

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UndefinedError, UsageError
from cmp_core.layers.arrays import precise
from cmp_core.layers.layer import Layer
from cmp_core.statistics.batch import GramMoments, GramMomentsWithout
from cmp_core.statistics.cache import cached
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.folds import Folds, Groups
from cmp_core.statistics.guards import Guards
from cmp_core.statistics.interface import Statistics
from cmp_core.statistics.moments import InnerProduct, is_wide, require
from cmp_core.statistics.second_moments import SecondMoments
from cmp_core.statistics.sum_moments import SumMoments, SumMomentsWithout
from cmp_core.statistics.sums import Parts, SplitSums, no_sums


class SplitAccumulator:
    """Takes in a split chunk by chunk: sums of narrow layers, and the samples of wide ones.

    A layer is wide where the split has no more samples than it has units. The samples of its
    neighbours are kept as well, for what compares the two.

    Args:
        wanted: what the statistics that are asked for rest on, see `rests_on`.
        folds: of the whole split.
        num_classes: C.
        left_out: layers that are too wide for the memory, with the reason.
        groups: of which each can be left out again, or none.
    """

    def __init__(
        self,
        wanted: frozenset[str],
        folds: Folds,
        num_classes: int,
        left_out: Mapping[str, str],
        groups: Groups | None = None,
    ) -> None:
        self.wanted, self.folds, self.left_out, self.groups = wanted, folds, left_out, groups
        self.classes = None if folds.labels is None else Classes(num_classes, folds.labels)
        self._num_classes = num_classes
        device = folds.sample_ids.device
        self.sums = SplitSums(wanted, device, self.classes)
        # Beside the sums of all: values are the same with errors and without, to the last bit.
        self.sums_by_group: SplitSums | None = None
        if groups is not None:
            parts = Parts(groups.count, groups.of)
            self.sums_by_group = SplitSums(wanted, device, self.classes, parts)
        self.widths: dict[str, int] = {}
        self.samples: dict[str, Layer] = {}

    def update(self, layers: Sequence[Layer], sample_ids: Tensor, labels: Tensor | None) -> None:
        """Take in a chunk.

        Args:
            layers: in order of depth, the reference first where there is one.
            sample_ids, labels: of the chunk.
        """
        if not self.widths:
            self._prepare(layers)
        places = self.folds.places(sample_ids)
        narrow = []
        for layer in layers:
            if layer.name in self.samples:
                kept = self.samples[layer.name].activations
                kept.index_copy_(0, places, layer.activations)
            if not (is_wide(self.n, self.widths[layer.name]) or layer.name in self.left_out):
                narrow.append(layer)
        self.sums.update(narrow, sample_ids, labels)
        if self.sums_by_group is not None:
            self.sums_by_group.update(narrow, sample_ids, labels)

    def merge(self, other: SplitAccumulator) -> SplitAccumulator:
        """Return what both have taken in, of different samples of one split; change neither."""
        merged = SplitAccumulator(
            self.wanted, self.folds, self._num_classes, self.left_out, self.groups
        )
        merged.sums = self.sums.merge(other.sums)
        if self.sums_by_group is not None and other.sums_by_group is not None:
            merged.sums_by_group = self.sums_by_group.merge(other.sums_by_group)
        merged.widths = self.widths or other.widths
        for name, layer in (self.samples | other.samples).items():
            sides = [side.samples[name].activations for side in (self, other) if side.samples]
            # Each has zeros in the places of what it has not seen.
            merged.samples[name] = attrs.evolve(layer, activations=torch.stack(sides).sum(dim=0))
        return merged

    @property
    def n(self) -> int:
        """Number of samples in the whole split."""
        return len(self.folds.sample_ids)

    def _prepare(self, layers: Sequence[Layer]) -> None:
        self.widths = {layer.name: layer.activations.shape[1] for layer in layers}
        for name in kept_layers(self.widths, self.n, self.wanted):
            if name not in self.left_out:
                layer = next(layer for layer in layers if layer.name == name)
                buffer = layer.activations.new_zeros(self.n, self.widths[name])
                self.samples[name] = Layer(name, layer.depth, layer.module, buffer)


def kept_layers(widths: Mapping[str, int], n: int, wanted: frozenset[str]) -> list[str]:
    """Return the layers whose samples are kept: the wide ones, and neighbours if wanted."""
    names = list(widths) if wanted else []
    wide = [i for i, name in enumerate(names) if is_wide(n, widths[name])]
    reach = 1 if "next" in wanted else 0
    return [name for i, name in enumerate(names) if any(abs(i - j) <= reach for j in wide)]


class SplitMoments(SecondMoments):
    """The second moments of a split; of pairs, those of neighbours alone.

    Those of wide layers are from Gram matrices, one layer at a time, those of the others from sums.
    """

    def __init__(self, split: SplitAccumulator, guards: Guards) -> None:
        device = split.folds.sample_ids.device
        super().__init__(split.n, list(split.widths.values()), device, guards)
        self._split, self.names = split, tuple(split.widths)
        measured = [name for name in self.names if name not in split.left_out]
        self._wide = [name for name in measured if is_wide(split.n, split.widths[name])]
        self._narrow = [name for name in measured if name not in self._wide]

    def gram_moments(self, *layers: str) -> GramMoments:
        """Return the second moments of some layers, from Gram matrices."""
        if not self._split.wanted:
            raise no_sums(layers[0], layers[-1])
        # Those of a pair are handed to nobody.
        guards = self.guards if len(layers) == 1 else Guards()
        chosen = [self._split.samples[name] for name in layers]
        return GramMoments(chosen, self._split.folds, self._split.classes, guards)

    @cached
    def grams_of(self, *layers: str) -> GramMoments:
        """Return `gram_moments`, and keep them."""
        return self.gram_moments(*layers)

    @cached
    def sums(self) -> SumMoments:
        """Return the second moments of the narrow layers, from sums."""
        return SumMoments(self._split.sums, self.n, self.guards)

    @cached
    def inner(self) -> InnerProduct:
        require(self.n, 1)
        size, device = len(self.names), self.widths.device
        squares = torch.full((size, size), torch.nan, dtype=precise(device), device=device)
        lengths, totals = squares.clone(), squares[0].clone()
        for form, layers in self._forms():
            own = form.inner()
            for place, i in enumerate(layers):
                totals[i] = own.own.x_total[place]
                squares[i, layers], lengths[i, layers] = own.squares[place], own.lengths[place]
        for i, j in zip(range(size), range(1, size), strict=False):
            if self._is_kept(self.names[i], self.names[j]):
                pair = self.gram_moments(self.names[i], self.names[j])
                # A narrow layer's sums have the scale of the first chunk.
                unit = (pair.scales() / self.scales()[[i, j]]).prod().square()
                squares[i, j] = squares[j, i] = pair.inner().squares[0, 1] * unit
                lengths[i, j] = lengths[j, i] = pair.inner().lengths[0, 1] * unit
        return InnerProduct(self.n, squares, lengths, totals[:, None], totals[None, :])

    @cached
    def scales(self) -> Tensor:
        return self._gathered(lambda form, _: form.scales())

    def log_det(self, scale: Tensor, floor: Tensor) -> Tensor:
        return self._gathered(lambda form, layers: form.log_det(scale[layers], floor[layers]))

    @cached
    def own(self) -> InnerProduct:  # from the forms, as what else is said of single layers
        squares = self._gathered(lambda form, _: form.own().squares)
        lengths = self._gathered(lambda form, _: form.own().lengths)
        totals = self._gathered(lambda form, _: form.own().x_total)
        return InnerProduct(self.n, squares, lengths, totals, totals)

    def within_class_variance(self) -> Tensor:
        return self._gathered(lambda form, _: form.within_class_variance())

    def scatter(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.scatter(place)

    def mean(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.mean(place)

    def unit_variances(self, layer: int) -> Tensor:
        form, place = self._form(layer)
        return form.unit_variances(place)

    def _form(self, layer: int) -> tuple[SecondMoments, int]:
        """Return the second moments of a layer, and which one it is in them."""
        name = self.names[layer]
        if name in self._wide:
            return self.grams_of(name), 0
        return self.sums(), self._narrow.index(name)

    def _forms(self) -> Iterator[tuple[SecondMoments, list[int]]]:
        """Yield second moments and the layers that they are of."""
        if self._narrow:
            yield self.sums(), [self.names.index(name) for name in self._narrow]
        for name in self._wide:
            yield self.grams_of(name), [self.names.index(name)]

    def _gathered(self, values: Callable[[SecondMoments, list[int]], Tensor]) -> Tensor:
        """Return the values (L,) of all layers, given those of a form; NaN where left out."""
        device = self.widths.device
        gathered = torch.full((len(self.names),), torch.nan, dtype=precise(device), device=device)
        for form, layers in self._forms():
            gathered[layers] = values(form, layers)
        return gathered

    def require_layer(self, layer: int) -> None:
        reason = self._split.left_out.get(self.names[layer])
        if reason is not None:
            raise UndefinedError(reason)

    def require_pair(self, first: int, second: int) -> None:
        if first != second and not self._is_known(*sorted((first, second))):
            raise no_sums(self.names[first], self.names[second])

    def _is_known(self, i: int, j: int) -> bool:
        """Whether the products of two layers are known, the second the deeper one."""
        x, y = self.names[i], self.names[j]
        return (x, y) in self._split.sums.pairs() or self._is_kept(x, y)

    def _is_kept(self, x: str, y: str) -> bool:
        """Whether the samples of two neighbours are kept."""
        samples = self._split.samples
        if "next" not in self._split.wanted or not (x in samples and y in samples):
            return False
        return 0 <= samples[x].depth == samples[y].depth - 1


class SplitMomentsWithout(SplitMoments):
    """The second moments of all samples of a split but those of one group."""

    def __init__(self, whole: SplitMoments, group: int) -> None:
        super().__init__(whole._split, Guards())
        groups = whole._split.groups
        assert groups is not None  # otherwise nothing can be left out
        self._whole, self._group = whole, group
        self._kept = (groups.of(groups.sample_ids) != group).nonzero()[:, 0]
        self.n = len(self._kept)  # the forms of the layers stay those of the whole

    def gram_moments(self, *layers: str) -> GramMoments:
        return GramMomentsWithout(self._whole.grams_of(*layers), self._kept)

    @cached
    def sums(self) -> SumMoments:
        by_group = self._split.sums_by_group
        assert by_group is not None  # otherwise nothing can be left out
        return SumMomentsWithout(self._whole.sums(), by_group, self._group, self.n)


class SplitStatistics(Statistics):
    """The statistics of a split's layers by name, once all of its chunks were taken in."""

    def __init__(self, split: SplitAccumulator, moments: SplitMoments | None = None) -> None:
        self._split, self._moments = split, moments or SplitMoments(split, Guards())
        super().__init__(split.widths, self._moments.n)

    @property
    def moments(self) -> SecondMoments:
        """The second moments of all layers."""
        return self._moments

    @property
    def samples(self) -> NoReturn:
        """There are no samples any more.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "a statistic of single samples was asked for, but under split='moments' a function "
            "sees a split through statistics of all samples alone"
        )

    @property
    def groups(self) -> Groups | None:
        """Parts of the samples of which each can be left out, or none."""
        return self._split.groups

    def without(self, group: int) -> SplitStatistics:
        """Return the statistics of all samples but those of a group."""
        return SplitStatistics(self._split, SplitMomentsWithout(self._moments, group))

    def renew(self) -> None:
        """Forget what was computed, for somebody has written into it."""
        self._moments = SplitMoments(self._split, Guards())
