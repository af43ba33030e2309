"""What a metric says about a question: its effects over the layers, each with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

import attrs
import numpy as np

from cmp_core.analysis.crossed import Estimate, Floats, estimate
from cmp_core.analysis.values import (
    Values,
    influences_of,
    is_same_metric,
    is_tested,
    recomputed_from,
    values_of,
)
from cmp_core.events.rows import INPUT
from cmp_core.runs.metric_info import Evidence, MetricInfo, Question
from cmp_core.runs.record import RunRecord
from cmp_core.text import in_short

MARGINS: dict[Evidence, float] = {"rises": 0.01, "falls": 0.05, "similarity": 0.05}
"""The smallest effects that matter, unless a metric or the configuration states another.

A rise in the metric's unit, the share of the first layer's value by which the last is smaller, and
1 - similarity.
"""

SETTLED = 0.2
"""Share of the margin by which an effect may change if half of the fitting samples are taken."""


@attrs.frozen(eq=False)
class MetricEvidence:
    """What one metric says about a question.

    Attributes:
        info: of the metric.
        phase: the split whose values these are; n: samples in it, 0 where that is not known.
        places: the layers at which the values stand, in order of depth.
        beside: for similarities the neighbour that each of them is about.
        foreign: whether another program has logged the values, which may mean something else.
        trained: of the tested weights.
        before: of the network before training, on the same samples, or none.
        reference: (S,) of the input measured like a layer, or none.
        n_fit: fitting samples of the linear fits that the values come from; 0 for none.
        halves: values by fits to half of them (S, L), or none.
    """

    info: MetricInfo
    phase: str
    n: int
    places: tuple[str, ...]
    trained: Values
    before: Values | None = None
    reference: Floats | None = None
    n_fit: int = 0
    halves: Floats | None = None
    beside: Mapping[str, str] = attrs.field(factory=dict)
    foreign: bool = False

    @property
    def is_tested(self) -> bool:
        """Whether the effect is held against the margin: of several seeds, and by cmp."""
        return self.effect.seeds > 1 and not self.foreign

    @property
    def values(self) -> Floats:
        """Values of the tested weights, (S, L)."""
        return self.trained.values

    @property
    def untrained(self) -> Floats | None:
        """Values before training, (S, L), or none."""
        return None if self.before is None else self.before.values

    @property
    def scaled(self) -> Floats:
        """The values in the unit of `effect`, (S, L): logarithms of falls, 1 - similarities."""
        return _scaled(self.values, self.direction)

    @property
    def direction(self) -> Evidence:
        """What of the values says yes."""
        assert self.info.evidence is not None  # others are no evidence
        return self.info.evidence

    @property
    def margin(self) -> float:
        """The smallest effect that matters, in the unit of `effect`."""
        stated = self.info.margin
        margin = MARGINS[self.direction] if stated is None else stated
        return -math.log1p(-margin) if self.direction == "falls" else margin

    @cached_property
    def effect(self) -> Estimate:
        """The effect that the answer is about, positive where it says yes.

        - `rises`: value of the last layer minus that of the first;
        - `falls`: by how much the logarithm falls from the first layer to the last;
        - `similarity`: the mean of 1 - value over the pairs.
        """
        return self.contrast(self._headline)

    @cached_property
    def untrained_effect(self) -> Estimate | None:
        """The same before training, or none."""
        return None if self.before is None else self._contrast(self._headline, self.before)

    @cached_property
    def learned(self) -> Estimate | None:
        """The effect minus that before training, on the same samples, or none."""
        if self.before is None:
            return None
        return self._contrast(self._headline, self.trained, self.before)

    def between(self, first: int, second: int) -> Estimate:
        """Return by how much the value of a place exceeds that of another, as in `effect`.

        Without an error where it is not settled, see `is_settled`.
        """
        weights = np.zeros(len(self.places))
        weights[second] += 1
        weights[first] -= 1
        found = self.contrast(weights)
        return found if self._is_settled(weights) else Estimate(found.effect, seeds=found.seeds)

    def at(self, place: int) -> Estimate:
        """Return 1 - value of a pair of layers, or the value of a layer."""
        weights = np.zeros(len(self.places))
        weights[place] = 1
        return self.contrast(weights)

    def contrast(self, weights: Floats) -> Estimate:
        """Return a weighted sum over the places (L,) of the values as `effect` takes them."""
        return self._contrast(weights, self.trained)

    @cached_property
    def is_settled(self) -> bool:
        """Whether half of the fitting samples give about the same effect, see `SETTLED`.

        Of similarities that of each pair. Otherwise there are too few of them for the units, and
        the value measures how sample-efficient a layer is as well.
        """
        if self.direction == "similarity":
            return all(map(self._is_settled, np.eye(len(self.places))))
        return self._is_settled(self._headline)

    def _is_settled(self, weights: Floats) -> bool:
        if not self.n_fit:
            return True
        if self.halves is None:
            return False
        moves = _scaled(self.halves, self.direction) - _scaled(self.values, self.direction)
        return bool(abs((moves @ weights).mean()) <= SETTLED * self.margin)

    @property
    def _headline(self) -> Floats:
        weights = np.zeros(len(self.places))
        if self.direction == "similarity":
            return weights + 1 / len(weights)
        weights[-1] += 1
        weights[0] -= 1
        return weights

    def _contrast(self, weights: Floats, *sides: Values) -> Estimate:
        """Return a weighted sum over the places, of the first side minus the second, if any."""
        effects = np.zeros(len(self.values))
        influences: Floats | None = None
        for sign, side in zip((1, -1), sides, strict=False):
            effects = effects + sign * (_scaled(side.values, self.direction) @ weights)
            if side.influences is None:
                return estimate(effects if len(sides) == 1 else self._both(weights, sides), None)
            slopes = _slopes(side.values, self.direction)[:, None, :]
            own = sign * ((slopes * side.influences) @ weights)
            influences = own if influences is None else influences + own
        return estimate(effects, influences)

    def _both(self, weights: Floats, sides: Sequence[Values]) -> Floats:
        first, second = (_scaled(side.values, self.direction) @ weights for side in sides)
        return np.asarray(first - second)


def _scaled(values: Floats, direction: Evidence) -> Floats:
    """Return values such that larger ones say yes."""
    if direction == "falls":
        return -np.log(values)
    return 1 - values if direction == "similarity" else values


def _slopes(values: Floats, direction: Evidence) -> Floats:
    """Return the derivative of `_scaled` by the values."""
    if direction == "falls":
        return -1 / values
    return np.full_like(values, -1.0 if direction == "similarity" else 1.0)


# From runs


def find_evidence(
    runs: Sequence[RunRecord], question: Question, notes: list[str]
) -> Iterator[MetricEvidence]:
    """Yield what the metrics of replicate runs say, and note what is left out and why."""
    for info in evidence_metrics(runs, question):
        has_test = all(is_tested(run, info.label) for run in runs)
        phase = "test" if has_test else "val"
        problem = None
        item = _evidence(runs, info, phase, notes)
        known = [run.metric_info.get(info.label) for run in runs]
        if len({run.is_foreign(info.label) for run in runs}) > 1:
            problem = "in some of the runs it is that of another program"
        elif not all(is_same_metric(info, other) for other in known):
            problem = "the runs measured it with different options"
        elif any(other is not None and other.margin != info.margin for other in known):
            problem = "the runs state different margins"
        elif item is None:
            problem = "it was not measured at two layers or more in every run"
            if recomputed_from(runs, info.label):
                problem += ", of the tested epoch: its snapshot is needed"
        elif info.evidence == "falls" and not (item.values > 0).all():
            problem = "a value is not above 0"
        elif _is_saturated(runs, info.label, phase, item.places):
            problem = "it is at the ceiling of its estimator, which tells about the sample size"
        elif not item.is_settled:
            problem = (
                f"{item.n_fit:,} fitting samples are too few for so many units (half of them "
                "change it by over a fifth of what matters): it also measures sample efficiency"
            )
        if problem:
            notes.append(f"{info.label} is excluded: {problem}")
        elif item is not None:
            if origin := recomputed_from(runs, info.label):
                notes.append(f"{info.label} was {origin}")
            if item.foreign:  # it is not tested, and one note says so of all
                yield item
                continue
            if phase == "val":
                notes.append(f"{info.label} is of validation, which chose the epoch as well")
            if item.trained.influences is None:
                rest = "only that over seeds" if len(runs) > 1 else "and there is one seed"
                notes.append(f"{info.label}: its error over samples is not known, {rest}")
            if item.before is None:
                notes.append(f"{info.label}: the untrained network was not measured on {phase}")
            yield item


def evidence_metrics(runs: Sequence[RunRecord], question: Question) -> list[MetricInfo]:
    """Return the metrics that count as evidence, each once, under its own name where possible."""
    found: dict[str, MetricInfo] = {}
    for run in runs:
        for info in run.metric_info.values():
            tells = info.question == question and info.evidence is not None
            if tells and (info.metric not in found or info.label == info.metric):
                found[info.metric] = info
    return list(found.values())


def _evidence(
    runs: Sequence[RunRecord], info: MetricInfo, phase: str, notes: list[str]
) -> MetricEvidence | None:
    layers = _layers(runs, info)
    columns = {layer: values_of(runs, info.label, phase, layer) for layer in layers}
    kept = {layer: column for layer, column in columns.items() if np.isfinite(column).all()}
    if len(kept) < (1 if info.evidence == "similarity" else 2):
        return None
    # Where no run has a value of two layers, the layer has no such neighbour.
    due = [x for x in layers if info.neighbour is None or np.isfinite(columns[x]).any()]
    if lacking := [layer for layer in due if layer not in kept]:
        are = "is" if len(lacking) == 1 else "are"
        notes.append(f"{info.label}: {in_short(lacking)} {are} left out, where a value is missing")
    names = tuple(kept)
    untrained = np.stack([values_of(runs, info.label, phase, name, epoch=0) for name in names], 1)
    is_defined = np.isfinite(untrained).all() and (info.evidence != "falls" or untrained.min() > 0)
    before = Values(untrained, influences_of(runs, info.label, phase, names, "untrained"))
    halves = [values_of(runs, info.label, phase, name, what="halves") for name in names]
    reference = values_of(runs, info.label, phase, INPUT)
    series = runs[0].log.series.get((phase, names[0], info.label))
    n_fit = min(int(values_of([run], info.label, phase, names[0], what="n_fit")[0]) for run in runs)
    return MetricEvidence(
        info=info,
        phase=phase,
        n=0 if series is None else int(series.n[-1]),
        places=names,
        trained=Values(
            np.stack(list(kept.values()), axis=1),
            influences_of(runs, info.label, phase, names, "tested"),
        ),
        before=before if is_defined else None,
        reference=reference if np.isfinite(reference).all() else None,
        n_fit=n_fit,
        halves=np.stack(halves, axis=1) if np.isfinite(halves).all() else None,
        beside=_neighbours(runs[0].layers, info),
        foreign=any(run.is_foreign(info.label) for run in runs),
    )


def _neighbours(layers: Sequence[str], info: MetricInfo) -> dict[str, str]:
    """Return the neighbour of each layer that a value of the metric is about as well."""
    forward = dict(pairwise(layers))
    return forward if info.neighbour == "next" else {after: name for name, after in forward.items()}


def _layers(runs: Sequence[RunRecord], info: MetricInfo) -> tuple[str, ...]:
    """Return the layers whose value is about depth alone, not about the output."""
    layers = [x for x in runs[0].layers if all(x in run.hidden_layers for run in runs)]
    if info.neighbour == "next":
        last = {layer for run in runs for layer, x in pairwise(run.layers) if x == run.output}
        layers = [layer for layer in layers if layer not in last]
    return tuple(layers)


def _is_saturated(runs: Sequence[RunRecord], label: str, phase: str, layers: Sequence[str]) -> bool:
    """Return whether a further value `saturated` of the metric is 1 at any of the layers."""
    flags = [values_of(runs, f"{label}_saturated", phase, layer) for layer in layers]
    return bool(flags) and bool((np.stack(flags) == 1).any())
