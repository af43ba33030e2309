"""Which layers are too wide for statistics over a whole split to fit into the memory."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from cmp_core.layers.sampling import FOLDS
from cmp_core.statistics.mixed import is_wide
from cmp_core.statistics.split import kept_layers

STATISTICS_SHARE = 0.5
"""Share of the memory that the statistics of a split may take."""

SUBSET_SIZE = 2048
"""Samples of a split that metrics see which must see theirs at once."""

_FLOAT64 = 8
_GRAMS, _GRAMS_HELD_OUT = 4, 12
"""Matrices (n, n) that are in memory at once, without and with ridge regressions held out."""


@attrs.frozen
class Demand:
    """What the selected metrics ask of a split.

    Attributes:
        sums: what their statistics rest on, see `rests_on`.
        subset: whether one of them sees samples of the split at once.
    """

    sums: frozenset[str]
    subset: bool

    def bytes_of(self, widths: Mapping[str, int], n: int, num_classes: int) -> dict[str, int]:
        """Return what each layer takes, for n samples; the activations are counted as float32.

        Sums take p² numbers for a layer of p units, and for every fold where there are folds.
        Where n ≤ p the samples themselves, n p, and Gram matrices, n², take less.
        """
        folds = FOLDS if "folds" in self.sums else 1
        names, kept = list(widths), kept_layers(widths, n, self.sums)
        subset = min(n, SUBSET_SIZE) if self.subset else 0
        needed = {}
        for name, following in zip(names, [*names[1:], None], strict=True):
            p = widths[name]
            needed[name] = subset * p * (2 * 4 + _FLOAT64)
            if not self.sums:
                continue
            if name in kept:
                needed[name] += 4 * n * p
            if is_wide(n, p):
                grams = _GRAMS_HELD_OUT if "folds" in self.sums else _GRAMS
                needed[name] += _FLOAT64 * (2 * n * p + grams * n * n)
                continue
            needed[name] += _FLOAT64 * (folds + 2) * p * p
            if "labels" in self.sums:
                needed[name] += _FLOAT64 * folds * p * min(num_classes, n)
            if "next" in self.sums and following is not None and not is_wide(n, widths[following]):
                needed[name] += _FLOAT64 * folds * p * widths[following]
        return needed

    def left_out(
        self, widths: Mapping[str, int], n: int, num_classes: int, available: int
    ) -> dict[str, str]:
        """Return the layers that are left out, those that need most first, with the reason.

        Args:
            widths: number of units of each layer, in order of depth.
            n: samples in the split.
            num_classes: C.
            available: bytes that the statistics of all layers together may take.
        """
        needed = self.bytes_of(widths, n, num_classes)
        reasons: dict[str, str] = {}
        while sum(needed.values()) > available:
            widest = max(needed, key=lambda name: needed[name])
            gigabytes = needed.pop(widest) / 1e9
            reasons[widest] = (
                f"{widest} has {widths[widest]:,} units: its statistics over {n:,} samples take "
                f"{gigabytes:,.1f} GB, of {available / 1e9:,.1f} GB for all layers; pool or select "
                "units, or use fewer samples"
            )
        return reasons
