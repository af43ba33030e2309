"""Several runs side by side: which of them are replicates of each other, and what tells them apart.

Replicates are runs whose configurations differ in nothing but the seed and in what says where
things are; they form a group, whose mean and spread plots show and whose seeds tests count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from pprint import pformat
from typing import Any

import attrs

from cmp_core.config.schema import keys_about
from cmp_core.errors import UsageError
from cmp_core.runs.record import RunRecord

SHARED = keys_about("seed", "place", "machine", "measurement", "record")
"""Keys that do not make two runs different experiments."""

_SCALE = keys_about("scale")
"""Keys that decide in which units scores and activations are."""


@attrs.frozen(eq=False)
class ReplicateGroup:
    """Runs that are replicates of each other.

    Attributes:
        label: what tells the group from the others.
        runs: in the order in which they were given.
    """

    label: str
    runs: tuple[RunRecord, ...]

    @property
    def model(self) -> str:
        """The runs' model."""
        return self.runs[0].model


@attrs.frozen(eq=False)
class RunSet:
    """Runs in the order in which they were given.

    Attributes:
        runs: at least one.
        labels: a label for each run, those with the same one forming a group; empty: runs that
            are replicates form a group, labelled by what tells the groups apart.
        place: the folder that was given for all of them, or none.

    Raises:
        UsageError: there are not as many labels as runs.
    """

    runs: tuple[RunRecord, ...]
    labels: tuple[str, ...] = ()
    place: Path | None = None

    def __attrs_post_init__(self) -> None:
        if self.labels and len(self.labels) != len(self.runs):
            raise UsageError(
                f"labels: expected a label for each of the {len(self.runs)} runs, "
                f"got {len(self.labels)}"
            )

    @cached_property
    def groups(self) -> tuple[ReplicateGroup, ...]:
        """The groups of replicates, in the order of their first runs."""
        keys = self.labels or tuple(map(_experiment, self.runs))
        members: dict[str, list[RunRecord]] = {}
        for key, run in zip(keys, self.runs, strict=True):
            members.setdefault(key, []).append(run)
        labels = list(members) if self.labels else _labels([runs[0] for runs in members.values()])
        return tuple(
            ReplicateGroup(label, tuple(runs))
            for label, runs in zip(labels, members.values(), strict=True)
        )

    @property
    def folder(self) -> Path:
        """Where files about the runs go: to where they are in one place, or here."""
        if self.place is not None:
            return self.place
        only = self.runs[0]
        return Path.cwd() if len(self.runs) > 1 or only.snapshot else only.directory

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A short name for each run that no other has: its group's label, and its seed."""
        short = {
            id(run): group.label if len(group.runs) == 1 else f"{group.label} · seed {run.seed}"
            for group in self.groups
            for run in group.runs
        }
        names = [short[id(run)] for run in self.runs]
        for told in ([run.name for run in self.runs], [str(run.directory) for run in self.runs]):
            names = [
                f"{short[id(run)]} · {more}" if names.count(name) > 1 else name
                for run, name, more in zip(self.runs, names, told, strict=True)
            ]
        return tuple(names)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers, in the order of the deepest run, then what others add."""
        deepest = max(self.runs, key=lambda run: len(run.layers))
        names = dict.fromkeys(deepest.hidden_layers)
        for run in self.runs:
            names |= dict.fromkeys(run.hidden_layers)
        for run in self.runs:
            names |= dict.fromkeys(run.layers)
        return tuple(names)

    def on_one_scale(self, metric: str) -> tuple[tuple[ReplicateGroup, ...], ...]:
        """Return the groups whose values of a metric can be compared, and share an axis.

        All of them where the metric is on one scale in all models, otherwise those of one kind.
        """
        info = [run.metric_info_of(metric) for run in self.runs]
        if all(one is not None and one.comparable for one in info):
            return (self.groups,)
        return self.of_one_kind

    @cached_property
    def of_one_kind(self) -> tuple[tuple[ReplicateGroup, ...], ...]:
        """The groups by what decides in which units their scores, activations and losses are."""
        kinds: dict[str, list[ReplicateGroup]] = {}
        for group in self.groups:
            kind = pformat([group.runs[0].config.get(key) for key in _SCALE])
            kinds.setdefault(kind, []).append(group)
        return tuple(map(tuple, kinds.values()))

    @cached_property
    def headlines(self) -> tuple[str, ...]:
        """The metrics with numbers that any run has, without further values."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.headlines))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The names of all values that any run has."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.metrics))

    @cached_property
    def pair_headlines(self) -> tuple[str, ...]:
        """The metrics of which any run has matrices over all pairs of layers."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.pair_headlines))

    @cached_property
    def pair_metrics(self) -> tuple[str, ...]:
        """The names of all values of which any run has such matrices."""
        return tuple(dict.fromkeys(name for run in self.runs for _, name in run.log.pairs))


def _experiment(run: RunRecord) -> str:
    """Return what two replicates have in common; a key that is null is one that is not there."""
    telling = {
        key: value for key, value in run.config.items() if key not in SHARED and value is not None
    }
    return pformat(telling)  # unlike JSON it has a form for whatever YAML can hold


def _values(runs: Sequence[RunRecord], key: Any) -> set[str]:
    return {pformat(run.config.get(key)) for run in runs}


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a label for each of some runs: the model, and the keys in which they differ."""
    models = [run.model for run in runs]
    if len(set(models)) == len(runs):
        return models
    keys = dict.fromkeys(key for run in runs for key in run.config if key not in SHARED)
    differing = [key for key in keys if key != "model" and len(_values(runs, key)) > 1]
    labels = []
    for run in runs:
        # Of two models only keys that differ among the runs of one model are worth the space.
        peers = [other for other in runs if other.model == run.model]
        told = [f"{key}={run.config.get(key)}" for key in differing if len(_values(peers, key)) > 1]
        labels.append(" ".join([run.model, *told]))
    return labels
