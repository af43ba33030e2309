"""Several runs side by side: which of them are replicates of each other, and what tells them apart.

Replicates are runs whose configurations differ in nothing but the seed and in what says where
things are; they form a group, whose mean and spread plots show and whose seeds tests count.
Runs that another program has logged are no replicates of others: what their metrics mean is not
known to be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from pprint import pformat

import attrs

from cmp_core.config.legacy import spelling
from cmp_core.config.schema import keys_about
from cmp_core.errors import UsageError
from cmp_core.runs.labels import labels_of
from cmp_core.runs.origin import MEANING
from cmp_core.runs.record import RunRecord

SHARED = keys_about("dataset", "seed", "place", "machine", "measurement", "record")
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

    @property
    def foreign(self) -> bool:
        """Whether another program has logged them."""
        return self.runs[0].foreign

    def is_foreign(self, metric: str) -> bool:
        """Return whether another program has logged a value, in any of the runs."""
        return any(run.is_foreign(metric) for run in self.runs)


@attrs.frozen(eq=False)
class RunSet:
    """Runs in the order in which they were given.

    Attributes:
        runs: at least one.
        labels: a label for each run, those with the same one forming a group; empty: runs that
            are replicates form a group, labelled by what tells the groups apart.
        place: the folder that was given for all of them, or none.

    Raises:
        UsageError: there are not as many labels as runs, or one stands for runs of cmp and of
            another program alike.
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
        for group in self.groups if self.labels else ():
            if len({run.foreign for run in group.runs}) > 1:
                ours, theirs = (
                    next(run.directory for run in group.runs if run.foreign == x)
                    for x in (False, True)
                )
                raise UsageError(
                    f"labels: '{group.label}' stands for '{ours}', and for '{theirs}', which "
                    "another program has logged: its metrics may mean something else; give it "
                    "another label"
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
        What another program has logged is on a scale of its own. Groups without a value stand
        with the first that has one.
        """
        having = [run for run in self.runs if run.has(metric)] or self.runs
        info = [run.metric_info_of(metric) for run in having]
        is_comparable = all(one is not None and one.comparable for one in info)

        def scale(group: ReplicateGroup) -> str:
            is_there = any(run.has(metric) for run in group.runs)
            own = group if is_there else self._group_of(having[0])
            return pformat((own.is_foreign(metric), None if is_comparable else _scale_of(own)))

        return self._by(scale)

    def _group_of(self, run: RunRecord) -> ReplicateGroup:
        return next(group for group in self.groups if run in group.runs)

    @cached_property
    def of_one_kind(self) -> tuple[tuple[ReplicateGroup, ...], ...]:
        """The groups by what decides in which units their scores, activations and losses are."""
        return self._by(lambda group: pformat((group.foreign, _scale_of(group))))

    def _by(self, key: Callable[[ReplicateGroup], str]) -> tuple[tuple[ReplicateGroup, ...], ...]:
        """Return the groups, those of one key together."""
        kinds: dict[str, list[ReplicateGroup]] = {}
        for group in self.groups:
            kinds.setdefault(key(group), []).append(group)
        return tuple(map(tuple, kinds.values()))

    @property
    def note_on_origin(self) -> str | None:
        """A sentence about metrics that another program has logged; none where there are none."""
        foreign = [group.label for group in self.groups if group.foreign]
        if not foreign:
            return None
        if len(foreign) == len(self.groups):
            return f"another program has logged the metrics: {MEANING}"
        others = "they are neither compared with those of cmp nor drawn on one axis with them"
        who = ", ".join(foreign)
        return f"another program has logged the metrics of {who}: {MEANING}, and {others}"

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the datasets, of several spellings the first."""
        names: dict[str, str] = {}
        for run in self.runs:
            names.setdefault(spelling(run.dataset), run.dataset)
        return tuple(names.values())

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
    # Unlike JSON this has a form for whatever YAML can hold.
    return pformat((run.foreign, telling))


def _scale_of(group: ReplicateGroup) -> list[object]:
    """Return what decides in which units the scores and activations of a group are."""
    return [group.runs[0].config.get(key) for key in _SCALE]


def _labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a label for each of some runs that are different experiments."""
    keys = dict.fromkeys(key for run in runs for key in run.config if key not in SHARED)
    return labels_of(runs, [key for key in keys if key != "model"])
