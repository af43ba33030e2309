"""Second moments from sums over samples that come in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from cmp_core.errors import UsageError
from cmp_core.layers.arrays import binary_scale, precise
from cmp_core.layers.layer import Layer
from cmp_core.statistics.classes import Classes
from cmp_core.statistics.moments import (
    Products,
    ShiftedSamples,
    pivot,
    require,
)

LABELS = ""
"""Stands for the one-hot labels where a layer's name is expected; no layer has this name."""


@attrs.frozen(eq=False)
class Parts:
    """Parts of the samples that are summed each by itself.

    Attributes:
        count: how many.
        of: returns the part (k,) of some samples, from 0 on, given their ids.
    """

    count: int
    of: Callable[[Tensor], Tensor]


_ROWS = 256
"""Samples whose products are taken at once: of more, they and their products are not in caches."""

WHOLE = Parts(1, torch.zeros_like)
"""All samples in one part."""


class SplitSums:
    """The sums of some samples so far: a monoid under `merge`, exact for any chunks and order.

    Memory is that of the sums, p² float64 numbers for a layer of p units and p q for a layer and
    the next, times the number of parts; it does not grow with the samples. The sums are of
    activations divided by a scale of the layer, see `binary_scale`.

    Args:
        wanted: of `own`, `next` and `labels`, see `rests_on`.
        device: where the samples are.
        classes: of the labels, or none.
        parts: that are summed each by itself.

    Attributes:
        class_counts: how many samples each part has of each class, (parts, K), or none.
        scales, pivots: of each layer, (0-d) and (p,); the labels' are 1 and 0.
    """

    def __init__(
        self,
        wanted: frozenset[str],
        device: torch.device,
        classes: Classes | None = None,
        parts: Parts = WHOLE,
    ) -> None:
        self._wanted, self.device, self._classes, self._parts = wanted, device, classes, parts
        self.class_counts: Tensor | None = None
        self.widths: dict[str, int] = {}
        self.scales: dict[str, Tensor] = {}
        self._products: dict[tuple[str, str], dict[int, Products]] = {}
        self.pivots: dict[str, Tensor] = {}

    def update(self, layers: Sequence[Layer], sample_ids: Tensor, labels: Tensor | None) -> None:
        """Take in a chunk.

        Args:
            layers: in order of depth, the reference first where there is one.
            sample_ids, labels: of the chunk.
        """
        self.widths |= {layer.name: layer.activations.shape[1] for layer in layers}
        if not (self._wanted and layers and sample_ids.shape[0]):
            return
        self._choose_scales_and_pivots(layers)
        part_of = self._parts.of(sample_ids)
        targets = self._targets(labels, part_of)
        pairs = list(self._pairs(layers, targets))
        for part, where in self._blocks(part_of):
            samples = {
                x.name: ShiftedSamples.of(
                    self.shifted(x.name, x.activations[where]), self.pivots[x.name]
                )
                for x in layers
            }
            if targets is not None:
                samples[LABELS] = ShiftedSamples.of(targets[where], self.pivots[LABELS])
            for x, y in pairs:
                known = self._products.setdefault((x, y), {})
                if part in known:
                    known[part].update(samples[x], samples[y])
                else:
                    known[part] = Products.of_samples(samples[x], samples[y])

    def shifted(self, layer: str, activations: Tensor) -> Tensor:
        """Return a layer's activations in units of its scale, counted from its pivot.

        In float64 (float32 on MPS).
        """
        scaled = activations.to(precise(self.device), copy=True).div_(self.scales[layer])
        return scaled.sub_(self.pivots[layer])

    def _choose_scales_and_pivots(self, layers: Sequence[Layer]) -> None:
        """Take the first chunk's, one for all folds: their sums then add up as they are."""
        for layer in layers:
            if layer.name not in self.pivots:
                scale = self.scales[layer.name] = binary_scale(layer.activations)
                self.pivots[layer.name] = pivot(layer.activations[:_ROWS].to(scale.dtype) / scale)
        if LABELS not in self.pivots and self._classes is not None:
            one = torch.ones((), dtype=precise(self.device), device=self.device)
            self.scales[LABELS] = one
            self.pivots[LABELS] = one.new_zeros(self._classes.width)

    def _targets(self, labels: Tensor | None, part_of: Tensor) -> Tensor | None:
        """Return one-hot labels (k, K), which are counted, or none where they are not wanted."""
        if labels is None or self._classes is None or "labels" not in self._wanted:
            return None
        targets = self._classes.one_hot(labels)
        counts = targets.new_zeros(self._parts.count, targets.shape[1])
        counts.index_add_(0, part_of, targets)
        self.class_counts = counts if self.class_counts is None else self.class_counts + counts
        return targets

    def merge(self, other: SplitSums) -> SplitSums:
        """Return the sums of both sets of samples; change neither side."""
        merged = SplitSums(self._wanted, self.device, self._classes, self._parts)
        counts = [x.class_counts for x in (self, other) if x.class_counts is not None]
        merged.class_counts = torch.stack(counts).sum(dim=0) if counts else None
        merged.widths = self.widths | other.widths
        merged.scales = other.scales | self.scales
        for name in merged.scales:
            pivots = (sums._pivot_for(name, merged.scales) for sums in (self, other))
            merged.pivots[name] = next(pivot for pivot in pivots if pivot is not None)
        for x, y in self._products | other._products:
            sides = [sums._rescaled(x, y, merged.scales) for sums in (self, other)]
            merged._products[x, y] = {
                part: Products.sum([side[part] for side in sides if part in side])
                for part in sides[0] | sides[1]
            }
        return merged

    def _pivot_for(self, layer: str, scales: Mapping[str, Tensor]) -> Tensor | None:
        """Return a layer's pivot in another scale, or none where there is none."""
        if layer not in self.pivots:
            return None
        return self.pivots[layer] * (self.scales[layer] / scales[layer])

    def _rescaled(self, x: str, y: str, scales: Mapping[str, Tensor]) -> dict[int, Products]:
        """Return the products of two layers in other scales, by part."""
        return {
            part: products.rescaled(*(self.scales[z] / scales[z] for z in (x, y)))
            for part, products in self._products.get((x, y), {}).items()
        }

    def pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of which there are sums."""
        return list(self._products)

    def targets(self, layer: str) -> list[str]:
        """Return what there are products of a layer with, but for itself."""
        return [y for x, y in self._products if x == layer != y]

    def products(self, layer: str, other: str, parts: Sequence[int] = ()) -> Products:
        """Return the products of two layers over some parts of the samples, by default all.

        Raises:
            UsageError: there are none of these two.
        """
        if (layer, other) not in self._products:
            raise no_sums(layer, other)
        by_part = self._products[layer, other]
        known = (part for part in parts or sorted(by_part) if part in by_part)
        chosen = [by_part[part] for part in known]
        require(len(chosen), 1)
        return chosen[0] if len(chosen) == 1 else Products.sum(chosen)

    def has_part(self, layer: str, other: str, part: int) -> bool:
        """Whether a part has samples in the products of two layers."""
        return part in self._products.get((layer, other), {})

    def _blocks(self, part_of: Tensor) -> Iterator[tuple[int, Tensor | slice]]:
        """Yield parts and the positions of some of their samples in a chunk."""
        if self._parts.count == 1:
            yield from ((0, slice(i, i + _ROWS)) for i in range(0, len(part_of), _ROWS))
            return
        sizes = part_of.bincount(minlength=self._parts.count).tolist()
        for part, where in enumerate(torch.split(part_of.argsort(stable=True), sizes)):
            yield from ((part, block) for block in torch.split(where, _ROWS) if len(block))

    def _pairs(self, layers: Sequence[Layer], targets: Tensor | None) -> Iterator[tuple[str, str]]:
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            yield layer.name, layer.name
            if targets is not None:
                yield layer.name, LABELS
            if "next" not in self._wanted or following is None:
                continue
            if 0 <= layer.depth == following.depth - 1:  # else the layer between is not here
                yield layer.name, following.name


def no_sums(layer: str, other: str) -> UsageError:
    """Return the error about a pair of which there are no sums."""
    return UsageError(
        f"there are no sums over the split of {layer} and {other or 'the labels'}: it needs two "
        "neighbours, and a metric that names the statistic in its needs"
    )
