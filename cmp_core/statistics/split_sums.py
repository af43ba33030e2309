"""Sums of products over a whole split, gathered chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import FOLDS, deal, folds
from cmp_core.statistics.moments import Products, Rows, pivot, precise

LABELS = ""
"""Stands for the one-hot labels where a layer's name is expected; no layer has this name."""

SUMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "eigenvalues": frozenset({"own"}),
        "held_out_r2": frozenset({"own", "next", "folds"}),
        "held_out_scores": frozenset({"own", "labels", "folds"}),
        "hsic": frozenset({"own", "next"}),
        "inner": frozenset({"own", "next"}),
        "channel_log_det": frozenset({"own"}),
        "mean": frozenset({"own"}),
        "scatter": frozenset({"own"}),
        "shrinkage": frozenset({"own"}),
        "shrunk_log_det": frozenset({"own"}),
        "squared_norm": frozenset({"own"}),
        "squared_trace": frozenset({"own"}),
        "unit_variances": frozenset({"own"}),
        "variance": frozenset({"own"}),
    }
)
"""The statistics that hold over a whole split, and the sums that they call for.

`own`: products of a layer with itself; `next`: with the next layer; `labels`: with the one-hot
labels; `folds`: all of these for every fold by itself.
"""


class SplitSums:
    """The sums of a split so far: a monoid under `merge`, exact for any chunks, order and shards.

    Memory is that of the sums, p² float64 numbers for a layer of p units and p q for a layer and
    the next, times five where folds are wanted; it does not grow with the samples.

    Args:
        wanted: of `own`, `next`, `labels`, `folds`.
        sample_ids: (n,) of the whole split, from which the folds are made.
        labels: (n,) of the whole split, or none.
        num_classes: C.
    """

    def __init__(
        self, wanted: frozenset[str], sample_ids: Tensor, labels: Tensor | None, num_classes: int
    ) -> None:
        self._wanted = wanted
        self._split = sample_ids, labels
        self.num_classes = num_classes
        self.widths: dict[str, int] = {}
        self._products: dict[tuple[str, str], dict[int, Products]] = {}
        self._pivots: dict[str, Tensor] = {}
        if "folds" in wanted:
            self._sorted_ids, order = sample_ids.sort()
            self._fold = folds(deal(sample_ids, labels))[order]

    @property
    def has_folds(self) -> bool:
        """Whether the sums are kept for every fold by itself."""
        return "folds" in self._wanted

    @property
    def has_labels(self) -> bool:
        """Whether the split's samples have labels."""
        return self._split[1] is not None

    def update(self, layers: Sequence[Layer], sample_ids: Tensor, labels: Tensor | None) -> None:
        """Take in a chunk.

        Args:
            layers: in order of depth, the reference first where there is one.
            sample_ids, labels: of the chunk.
        """
        self.widths |= {layer.name: layer.activations.shape[1] for layer in layers}
        if not sample_ids.shape[0]:
            return
        self._choose_pivots(layers, sample_ids.device)
        for group, where in enumerate(self._groups(sample_ids)):
            rows = {x.name: Rows.about(x.activations[where], self._pivots[x.name]) for x in layers}
            if labels is not None and "labels" in self._wanted:
                targets = one_hot(labels[where], self.num_classes)
                rows[LABELS] = Rows.about(targets, self._pivots[LABELS])
            for x, y in self._pairs(layers):
                known = self._products.setdefault((x, y), {})
                if group in known:
                    known[group].update(rows[x], rows[y])
                else:
                    known[group] = Products.of_rows(rows[x], rows[y])

    def _choose_pivots(self, layers: Sequence[Layer], device: torch.device) -> None:
        """Take the first chunk's means, one for all folds: their sums then add up as they are."""
        for layer in layers:
            if layer.name not in self._pivots:
                self._pivots[layer.name] = pivot(layer.activations)
        if LABELS not in self._pivots:
            zeros = torch.zeros(self.num_classes, dtype=precise(device), device=device)
            self._pivots[LABELS] = zeros

    def merge(self, other: SplitSums) -> SplitSums:
        """Return the sums of both sets of samples of one split; change neither side."""
        merged = SplitSums(self._wanted, *self._split, self.num_classes)
        merged.widths = self.widths | other.widths
        merged._pivots = other._pivots | self._pivots
        for pair in self._products | other._products:
            sides = [sums._products[pair] for sums in (self, other) if pair in sums._products]
            merged._products[pair] = {
                group: Products.sum([side[group] for side in sides]) for group in sides[0]
            }
        return merged

    def folds_of(self, sample_ids: Tensor) -> Tensor:
        """Return the fold (n,) of samples of the split."""
        return self._fold[torch.searchsorted(self._sorted_ids, sample_ids)]

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._products

    def targets(self, layer: str) -> list[str]:
        """Return what the products of a layer are kept of, but for itself."""
        return [y for x, y in self._products if x == layer != y]

    def products(self, layer: str, other: str) -> list[Products]:
        """Return the products of two layers, for every fold where folds are wanted.

        Raises:
            UsageError: there are none of these two.
        """
        if (layer, other) not in self._products:
            what = f"{layer} and {other or 'the labels'}"
            raise UsageError(f"sums over a split were not asked for, or are not kept, of {what}")
        by_fold = self._products[layer, other]
        return [by_fold[group] for group in sorted(by_fold)]

    @property
    def _num_groups(self) -> int:
        return FOLDS if self.has_folds else 1

    def _groups(self, sample_ids: Tensor) -> list[Tensor]:
        """Return the positions of each fold's samples in a chunk."""
        if self._num_groups == 1:
            return [torch.arange(len(sample_ids), device=sample_ids.device)]
        fold = self.folds_of(sample_ids)
        sizes = fold.bincount(minlength=FOLDS).tolist()
        return list(torch.split(fold.argsort(stable=True), sizes))

    def _pairs(self, layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            yield layer.name, layer.name
            if "labels" in self._wanted and self.has_labels:
                yield layer.name, LABELS
            if "next" in self._wanted and following is not None and layer.depth >= 0:
                yield layer.name, following.name


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (n,) as 0 and 1, (n, C)."""
    return torch.nn.functional.one_hot(labels, num_classes).to(precise(labels.device))


def smoothed(counts: Tensor) -> Tensor:
    """Return class frequencies from counts (…, C), one sample of each class added to them.

    A class that the counts lack is then unlikely, not impossible.
    """
    return (counts + 1) / (counts + 1).sum(dim=-1, keepdim=True)
