"""Two experiments against each other, layer by layer, on the test samples that both share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import attrs
import numpy as np

from cmp_core.analysis.crossed import Estimate, Floats, estimate, estimate_difference
from cmp_core.analysis.evidence import MARGINS, SETTLED
from cmp_core.analysis.inference import holm
from cmp_core.analysis.runs import Runs, as_run_set
from cmp_core.analysis.seeds import distinct_networks
from cmp_core.analysis.values import (
    hits_of,
    influences_of,
    is_same_metric,
    is_tested,
    other_data,
    recomputed_from,
    values_of,
)
from cmp_core.errors import UsageError, unknown
from cmp_core.runs.metric_info import MetricInfo
from cmp_core.runs.origin import MEANING
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup, RunSet
from cmp_core.runs.test_accuracies import output_accuracy
from cmp_core.text import counted, in_short

OUTPUT = "output"
"""The place of the accuracy of what a network answers: its head's, or its last layer's."""


@attrs.frozen
class Difference:
    """By how much the second experiment's value exceeds the first's, at a layer.

    Attributes:
        metric, layer, unit: of the value; the layer `OUTPUT` is that of the test accuracy.
        first, second: the mean values over seeds.
        estimate: of the difference, in the metric's unit.
        p: of no difference, adjusted by Holm's method for all differences that are tested beside
            it; NaN where nothing tells the error.
    """

    metric: str
    layer: str
    unit: str
    first: float
    second: float
    estimate: Estimate
    p: float = math.nan


@attrs.frozen(eq=False, repr=False)
class Comparison:
    """The second experiment against the first.

    Attributes:
        first, second: labels of the groups of runs.
        design: what is compared and what intervals are over, in words.
        differences: by metric, and within a metric by layer.
        notes: what is not compared, and why, in sentences.
    """

    first: str
    second: str
    design: str
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Comparison {self.second} − {self.first}: {self.design}>"

    def _repr_html_(self) -> str:
        from cmp_core.analysis.tables import html_of_comparison

        return html_of_comparison(self)

    @property
    def output(self) -> Difference | None:
        """The difference of test accuracies, or none where a side is not tested."""
        return self._by_place.get(("accuracy", OUTPUT))

    @property
    def by_layer(self) -> tuple[Difference, ...]:
        """The differences of metrics at layers."""
        return tuple(one for one in self.differences if one.layer != OUTPUT)

    def at(self, metric: str, layer: str) -> Difference | None:
        """Return the difference of a metric at a layer; none where it is not compared there.

        Raises:
            UsageError: the metric or the layer is not compared at all.
        """
        asked = ("metric", metric, [*self.units]), ("layer", layer, [*self.layers, OUTPUT])
        for kind, name, known in asked:
            if name not in known:
                raise UsageError(f"{self.second} − {self.first}: {unknown(kind, name, known)}")
        return self._by_place.get((metric, layer))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Difference]:
        return {(one.metric, one.layer): one for one in self.differences}

    @property
    def units(self) -> dict[str, str]:
        """The metrics that are compared, with their units."""
        return {one.metric: one.unit for one in self.differences}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are compared at layers."""
        return tuple(dict.fromkeys(one.metric for one in self.by_layer))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that both experiments have, in order of depth."""
        return tuple(dict.fromkeys(one.layer for one in self.by_layer))


def compare(runs: Runs) -> tuple[Comparison, ...]:
    """Return each experiment but the first against the first.

    Args:
        runs: of two experiments or more: runs, run directories, snapshot files, or a set of runs.

    Raises:
        UsageError: what is given is no run, or all runs are of one experiment.
    """
    run_set = as_run_set(runs)
    if len(run_set.groups) < 2:
        what = "one run" if len(run_set.runs) == 1 else "runs that differ by seed alone"
        raise UsageError(f"expected runs of two experiments or more, got {what}")
    return comparisons_of(run_set)


def comparisons_of(runs: RunSet) -> tuple[Comparison, ...]:
    """Return each experiment but the first against the first; none where there is one.

    Seeds that both have are paired, and so are test samples. Where fewer than two seeds are common
    but both have several, the seeds are taken as independent, and the samples still as paired. Of
    one seed on either side the interval is over samples alone, and about these networks.
    """
    first, *others = runs.groups
    found = [_Pair(first, group).compared() for group in others]
    adjusted = iter(holm([one.p for comparison in found for one in comparison.differences]))
    return tuple(
        attrs.evolve(
            comparison,
            differences=tuple(
                attrs.evolve(one, p=next(adjusted)) for one in comparison.differences
            ),
        )
        for comparison in found
    )


class _Pair:
    """The networks of two experiments, and how they are paired."""

    def __init__(self, first: ReplicateGroup, second: ReplicateGroup) -> None:
        self._labels = first.label, second.label
        self._notes: list[str] = []
        a, b = (self._networks(group) for group in (first, second))
        by_seed = {str(run.seed): run for run in a if run.seed is not None}
        common = [(by_seed[str(run.seed)], run) for run in b if str(run.seed) in by_seed]
        if len(a) == len(b) == 1:
            common = [(a[0], b[0])]
        self._is_paired = len(common) >= min(2, len(a), len(b))
        if self._is_paired:
            paired = {id(run) for pair in common for run in pair}
            for side, label in ((a, second.label), (b, first.label)):
                alone = [run for run in side if id(run) not in paired]
                whose = "its seed" if len(alone) == 1 else "their seeds"
                self._leave_out(alone, f"{label} has no run of {whose}")
            a, b = ([pair[side] for pair in common] for side in (0, 1))
        self._first, self._second = a, b
        self._runs = RunSet((*a, *b))
        outputs = [run.answering_layer for run in self._runs.runs]
        self._hits = hits_of(self._runs.runs, outputs)
        self._reservations: dict[str, list[str]] = {}
        self._unlike: dict[str, list[str]] = {}  # layers of a metric whose neighbours differ

    def _networks(self, group: ReplicateGroup) -> list[RunRecord]:
        """Return the tested runs, one of each seed; all where none was tested."""
        tested = [run for run in group.runs if math.isfinite(_accuracy(run))]
        if tested:
            untested = [run for run in group.runs if run not in tested]
            was = "it was" if len(untested) == 1 else "they were"
            self._leave_out(untested, f"{was} not tested")
        return distinct_networks(tested or group.runs, self._notes)

    def _leave_out(self, runs: Sequence[RunRecord], why: str) -> None:
        if runs:
            are = "is" if len(runs) == 1 else "are"
            self._notes.append(f"{in_short([run.name for run in runs])} {are} left out: {why}")

    def compared(self) -> Comparison:
        """Return all differences, their p not adjusted yet."""
        if what := other_data(self._runs.runs):
            return Comparison(*self._labels, f"not compared, {what} differ", ())
        differences = (*self._output(), *self._at_layers())
        for metric, layers in self._unlike.items():
            self._note(metric, f"not compared at {in_short(layers)}, whose neighbours differ")
        reasons = (f"{', '.join(names)}: {reason}" for reason, names in self._reservations.items())
        return Comparison(*self._labels, self._design(), differences, (*self._notes, *reasons))

    def _design(self) -> str:
        a, b = len(self._first), len(self._second)
        paired = [] if self._hits is None else [counted(self._hits.shape[1], "test sample")]
        if self._is_paired and a > 1:
            paired.insert(0, counted(a, "seed"))
        if self._is_paired:
            seeds = [] if a > 1 else ["two networks, which says nothing about other seeds"]
        elif min(a, b) == 1:
            return f"{a} and {b} seeds, none in common: no intervals"
        else:
            seeds = [f"{a} and {b} seeds, not paired"]
        return "; ".join([*seeds, f"paired by {' and '.join(paired)}"] if paired else seeds)

    def _output(self) -> Iterator[Difference]:
        """Yield the difference of test accuracies, if both sides were tested."""
        values = np.array([_accuracy(run) for run in self._runs.runs])
        if np.isfinite(values).all():
            yield self._difference("accuracy", OUTPUT, "fraction", values, self._hits)

    def _at_layers(self) -> Iterator[Difference]:
        """Yield the differences of the metrics that can be compared, at layers of both sides."""
        runs = self._runs.runs
        layers = [layer for layer in self._runs.layers if all(layer in run.layers for run in runs)]
        if not layers:
            self._notes.append("no layer has the same name in both")
        for metric in self._runs.headlines:
            info = runs[0].metric_info_of(metric)
            if info is None or any(metric not in run.headlines for run in (runs[0], runs[-1])):
                continue
            if len({run.is_foreign(metric) for run in runs}) > 1:
                self._note(
                    metric, f"not compared layer by layer, another program has logged it; {MEANING}"
                )
            elif not all(is_same_metric(info, run.metric_info.get(metric)) for run in runs):
                self._note(metric, "not compared, measured with different options")
            elif len(self._runs.on_one_scale(metric)) > 1:
                self._note(metric, "not compared, on another scale in a model of another kind")
            else:
                for layer in layers:
                    yield from self._at_layer(info, layer)

    def _at_layer(self, info: MetricInfo, layer: str) -> Iterator[Difference]:
        runs, metric = self._runs.runs, info.label
        phase = "test" if all(is_tested(run, metric) for run in runs) else "val"
        values = values_of(runs, metric, phase, layer)
        if not np.isfinite(values).all():
            return
        if len({_neighbour(run, layer, info) for run in runs}) > 1:
            self._unlike.setdefault(metric, []).append(layer)
            return
        influences = influences_of(runs, metric, phase, [layer], "tested")
        if influences is None:
            of = "of validation, " if phase == "val" else ""
            is_single = min(len(self._first), len(self._second)) == 1
            how = "without intervals" if is_single else "intervals are over seeds alone"
            self._note(metric, f"{of}{how}")
        if origin := recomputed_from(runs, metric):
            self._note(metric, origin)
        own = None if influences is None else influences[:, :, 0]
        found = self._difference(metric, layer, info.unit, values, own)
        halves = values_of(runs, metric, phase, layer, what="halves")
        half = self._difference(metric, layer, info.unit, halves, None)
        margin = MARGINS[info.evidence or "rises"] if info.margin is None else info.margin
        if abs(half.estimate.effect - found.estimate.effect) > SETTLED * margin:
            self._note(
                metric,
                "not tested where half of the fitting samples change the difference by over a "
                "fifth of what matters: it also measures sample efficiency",
            )
            effect = found.estimate.effect
            found = attrs.evolve(found, estimate=Estimate(effect), p=math.nan)
        yield found

    def _note(self, metric: str, reason: str) -> None:
        names = self._reservations.setdefault(reason, [])
        if metric not in names:
            names.append(metric)

    def _difference(
        self, metric: str, layer: str, unit: str, values: Floats, influences: Floats | None
    ) -> Difference:
        """Return the difference of values of all runs, the first side's before the second's."""
        cut = len(self._first)
        a, b = values[:cut], values[cut:]
        of_a, of_b = (None, None) if influences is None else (influences[:cut], influences[cut:])
        if self._is_paired:
            paired = None if of_a is None or of_b is None else of_b - of_a
            found = estimate(b - a, paired)
        else:
            found = estimate_difference((a, of_a), (b, of_b))
        return Difference(
            metric, layer, unit, float(a.mean()), float(b.mean()), found, found.p(0.0)
        )


def _accuracy(run: RunRecord) -> float:
    """Return the test accuracy of the output, NaN where there is none."""
    told = output_accuracy(run.log.test)
    return told if math.isfinite(told) else [math.nan, *run.test_accuracies.values()][-1]


def _neighbour(run: RunRecord, layer: str, info: MetricInfo) -> str | None:
    """Return the neighbour of a layer that a value of the metric is about as well, if any."""
    place = run.layers.index(layer) + {"next": 1, "previous": -1}.get(info.neighbour or "", 0)
    return run.layers[place] if info.neighbour and 0 <= place < len(run.layers) else None
