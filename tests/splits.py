"""Whole splits for tests: what the statistics of one rest on."""

from __future__ import annotations

from collections.abc import Mapping

from cmp_core.events.activations import LayerActivations
from cmp_core.statistics.folds import Folds
from cmp_core.statistics.split import SplitAccumulator, SplitStatistics


def new_split(
    wanted: frozenset[str], event: LayerActivations, left_out: Mapping[str, str] | None = None
) -> SplitAccumulator:
    """Return what takes in the samples of an event, chunk by chunk; none of them yet."""
    folds = Folds(event.sample_ids, event.labels)
    return SplitAccumulator(wanted, folds, event.num_classes, left_out or {})


def split_statistics(wanted: frozenset[str], event: LayerActivations) -> SplitStatistics:
    """Return the statistics of a split of one chunk."""
    split = new_split(wanted, event)
    split.update(event.all_layers, event.sample_ids, event.labels)
    return SplitStatistics(split)
