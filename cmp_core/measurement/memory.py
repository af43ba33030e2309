"""Which layers are too wide for statistics over a whole split to fit into the memory."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from cmp_core.layers.sampling import FOLDS, GROUPS
from cmp_core.statistics.fits import fewest, too_wide
from cmp_core.statistics.moments import is_wide
from cmp_core.statistics.split import kept_layers
from cmp_core.text import counted

STATISTICS_SHARE = 0.5
"""Share of the memory that the statistics of a split may take."""

SUBSET_SIZE = 2048
"""Samples of a split that metrics see which must see theirs at once."""

_FLOAT64 = 8
_GRAMS = 4
"""Matrices (n, n) that are in memory at once."""
_FACTORS = 4
"""Matrices (p, p) that are in memory at once while a linear fit is made."""


@attrs.frozen
class Demand:
    """What the selected metrics ask of a split.

    Attributes:
        sums: what their statistics rest on, see `rests_on`.
        fits: what is fitted for them, see `fitted_to`.
        subset: whether one of them sees samples of the split at once.
    """

    sums: frozenset[str]
    fits: frozenset[str]
    subset: bool

    def bytes_of(
        self, widths: Mapping[str, int], n: int, num_classes: int, *, by_group: bool = False
    ) -> dict[str, int]:
        """Return what each layer takes, for n samples; the activations are counted as float32.

        Sums take p² numbers for a layer of p units, for standard errors those of each group. Where
        n ≤ p the samples themselves, n p, and Gram matrices, n², take less.
        """
        parts = GROUPS + 1 if by_group else 1
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
                needed[name] += _FLOAT64 * (2 * n * p + _GRAMS * n * n)
                continue
            needed[name] += _FLOAT64 * (parts + 2) * p * p
            if "labels" in self.sums:
                needed[name] += _FLOAT64 * parts * p * min(num_classes, n)
            if "next" in self.sums and following is not None and not is_wide(n, widths[following]):
                needed[name] += _FLOAT64 * parts * p * widths[following]
        return needed

    def bytes_of_fits(
        self, widths: Mapping[str, int], n: int, num_classes: int, *, in_folds: bool
    ) -> dict[str, int]:
        """Return what the fits to each layer take, for n fitting samples.

        There are p² numbers, and the products with the targets, for each half, and where the
        samples are scored themselves for each half of every fold.
        """
        if not self.fits:
            return {}
        fits = FOLDS if in_folds else 1
        narrow = {name: p for name, p in widths.items() if name not in too_wide(widths, n)}
        needed = {}
        for name, following in zip(widths, [*list(widths)[1:], None], strict=True):
            if name in narrow:
                p, targets = narrow[name], 0
                targets += min(num_classes, n) if "labels" in self.fits else 0
                targets += narrow.get(following or "", 0) if "next" in self.fits else 0
                # The sums of both halves, and the weights of two fits.
                needed[name] = _FLOAT64 * (p * p * (2 * fits + _FACTORS) + 4 * fits * p * targets)
        return needed

    def left_out(
        self,
        widths: Mapping[str, int],
        n: int,
        num_classes: int,
        available: int,
        *,
        by_group: bool = False,
    ) -> dict[str, str]:
        """Return the layers that are left out, those that need most first, with the reason.

        Args:
            widths: number of units of each layer, in order of depth.
            n: samples in the split.
            num_classes: C.
            available: bytes that the statistics of all layers together may take.
            by_group: whether there are sums of each group of samples, for standard errors.
        """
        needed = self.bytes_of(widths, n, num_classes, by_group=by_group)
        what, remedy = f"its statistics over {counted(n, 'sample')}", "use fewer samples"
        return _beyond(available, needed, widths, what, f"pool or select units, or {remedy}")

    def left_out_of_fits(
        self,
        widths: Mapping[str, int],
        n: int,
        num_classes: int,
        available: int,
        *,
        in_folds: bool,
    ) -> dict[str, str]:
        """Return the layers that are not fitted to, with the reason, see `left_out`."""
        fewest_of_a_fit = fewest(n) if in_folds else n
        needed = self.bytes_of_fits(widths, n, num_classes, in_folds=in_folds)
        what = f"linear fits to {counted(n, 'sample')} of it"
        reasons = _beyond(available, needed, widths, what, "pool or select units")
        return too_wide(widths, fewest_of_a_fit) | reasons


def _beyond(
    available: int, needed: dict[str, int], widths: Mapping[str, int], what: str, remedy: str
) -> dict[str, str]:
    """Return the layers that do not fit into the available bytes, with the reason."""
    reasons: dict[str, str] = {}
    while sum(needed.values()) > available:
        widest = max(needed, key=lambda name: needed[name])
        gigabytes = needed.pop(widest) / 1e9
        reasons[widest] = (
            f"{widest} has {counted(widths[widest], 'unit')}: {what} take {gigabytes:,.1f} GB, of "
            f"{available / 1e9:,.1f} GB for all layers; {remedy}"
        )
    return reasons
