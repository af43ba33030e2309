"""The three research questions, answered from what runs have logged, with statistics over seeds.

Metrics declare what they are evidence of (`question`, `evidence`); `docs/questions.md` states the
tests and the margins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.analysis.inference import (
    Floats,
    MeanTest,
    Verdict,
    agreement,
    bootstrap,
    decide,
    holm,
    interval,
    kappa,
    kendall_tau,
    mcnemar,
    mean_test,
    page_p,
    slope,
)
from cmp_core.events.rows import INPUT
from cmp_core.runs.metric_info import Evidence, MetricInfo, Question
from cmp_core.runs.record import HEAD, RunRecord

QUESTIONS: dict[Question, str] = {
    "predictive": "Are later layers more predictive?",
    "compressing": "Are layers compressing?",
    "different": "Are layers genuinely different?",
}

MARGINS: dict[Evidence, float] = {"rises": 0.01, "falls": -math.log(0.95), "similarity": 0.05}
"""The smallest effects that count, over the whole depth; units: see `MetricEvidence.changes`."""


@attrs.frozen(eq=False)
class MetricEvidence:
    """What one metric says about a question.

    Attributes:
        info: of the metric.
        phase: the split whose values these are; n: samples in it, 0 where that is not known.
        places: the layers, or for similarities the pairs of neighbours, in order of depth.
        values: (seeds, places) of the tested weights.
        untrained: the same of the network before training, or none.
        reference: (seeds,) of the input measured like a layer, or none.
    """

    info: MetricInfo
    phase: str
    n: int
    places: tuple[str, ...]
    values: Floats
    untrained: Floats | None
    reference: Floats | None

    @property
    def margin(self) -> float:
        """The smallest change that counts."""
        return MARGINS[self._direction]

    @cached_property
    def changes(self) -> Floats:
        """One number per seed (seeds,), positive where it says yes.

        - `rises`: how far the fitted line rises from the first layer to the last;
        - `falls`: how far it falls, in logarithms: log 2 where the value halves;
        - `similarity`: the mean of 1 − value over the pairs, minus that of the untrained network.
        """
        if self._direction == "similarity":
            return _dissimilarity(self.values) - self._untrained_dissimilarity
        return self._trends(self.values)

    @cached_property
    def untrained_changes(self) -> Floats | None:
        """The same trend in the untrained network, or none; for similarities its mean of 1 − value.

        A trend that is there before training was not learned.
        """
        if self.untrained is None:
            return None
        if self._direction == "similarity":
            return _dissimilarity(self.untrained)
        return self._trends(self.untrained)

    @cached_property
    def test(self) -> MeanTest:
        """Whether the changes differ from 0 over seeds."""
        return mean_test(self.changes, self.margin)

    @property
    def verdict(self) -> Verdict:
        """What the metric says by itself.

        Similarities without the untrained network to compare with cannot say yes: it may differ
        as much.
        """
        verdict = decide(self.test, self.margin)
        is_alone = self._direction == "similarity" and self.untrained is None
        return "inconclusive" if is_alone and verdict == "yes" else verdict

    @property
    def exceeds_untrained(self) -> bool:
        """Whether the change is larger than that of the untrained network, as far as that is known.

        Of similarities the change is that already.
        """
        if self._direction == "similarity" or self.untrained_changes is None:
            return True
        return decide(mean_test(self.changes - self.untrained_changes, self.margin), 0.0) == "yes"

    @property
    def p(self) -> float:
        """The p-value behind the verdict: of a difference from 0, or for a no of equivalence."""
        if self.verdict != "no":
            return self.test.p
        return min(self.test.p_equivalence, self.test.p if self.test.effect < 0 else 1.0)

    @cached_property
    def tau(self) -> float:
        """Kendall's τ between value and depth, the mean over seeds; NaN for similarities."""
        return math.nan if self._direction == "similarity" else kendall_tau(self.values)

    @cached_property
    def page_p(self) -> float:
        """The p-value of Page's L test for a trend that says yes; NaN for similarities."""
        if self._direction == "similarity":
            return math.nan
        return page_p(self.values if self._direction == "rises" else -self.values)

    @property
    def _direction(self) -> Evidence:
        assert self.info.evidence is not None  # `_all_evidence` takes no others
        return self.info.evidence

    @property
    def _untrained_dissimilarity(self) -> Floats | float:
        return 0.0 if self.untrained is None else _dissimilarity(self.untrained)

    def _trends(self, values: Floats) -> Floats:
        """Return the change of each seed's fitted line over the whole depth."""
        scaled = values if self._direction == "rises" else -np.log(values)
        return np.array([slope(row) * (len(row) - 1) for row in scaled])


@attrs.frozen
class Step:
    """A layer and the next one on the same test samples of one seed.

    Attributes:
        first, second: the layers.
        seed: of the run.
        lost, won: samples that only the first, and only the second gets right.
        p: exact McNemar test, adjusted for all steps of all seeds by Holm's method.
        kappa: Cohen's κ of the two layers' errors; NaN where a layer makes none.
    """

    first: str
    second: str
    seed: object
    lost: int
    won: int
    p: float
    kappa: float


@attrs.frozen(eq=False)
class Answer:
    """The answer of replicate runs to a research question.

    Attributes:
        question: which.
        verdict: what all evidence agree on, otherwise inconclusive.
        seeds: replicates; with one the verdict describes that run alone.
        evidence: the metrics that say something, in the order of the log.
        steps: for the questions about predictions and differences, neighbours compared sample by
            sample.
        slope_interval, tau_interval: for the question about predictions, 95 % bootstrap
            intervals of the slope of test accuracy per layer and of Kendall's τ, over seeds and
            samples; none where there are no predictions.
        notes: what was left out, and why, in sentences.
    """

    question: Question
    verdict: Verdict
    seeds: int
    evidence: tuple[MetricEvidence, ...] = ()
    steps: tuple[Step, ...] = ()
    slope_interval: tuple[float, float] | None = None
    tau_interval: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The question in words."""
        return QUESTIONS[self.question]

    @property
    def is_descriptive(self) -> bool:
        """Whether it rests on one seed, and so says nothing about others."""
        return self.seeds < 2

    @property
    def short_verdict(self) -> str:
        """The verdict and what it rests on, in a few words."""
        if self.is_descriptive:
            return f"{self.verdict}, in this run (one seed, no test)"
        if {"yes", "no"} <= {item.verdict for item in self.evidence}:
            return f"{self.verdict} ({self.seeds} seeds, the metrics disagree)"
        p = max((item.p for item in self.evidence), default=math.nan)
        known = f", p ≤ {_rounded_up(p):.2g}" if math.isfinite(p) else ""
        return f"{self.verdict} ({self.seeds} seeds{known})"


def _rounded_up(p: float) -> float:
    """Return a p-value in two digits that it does not exceed.

    >>> _rounded_up(0.0010033), _rounded_up(0.05)
    (0.0011, 0.05)
    """
    unit = 10.0 ** (math.floor(math.log10(p)) - 1) if p > 0 else 1.0
    return round(math.ceil(p / unit - 1e-9) * unit, 12)


def answer(runs: Sequence[RunRecord], question: Question) -> Answer:
    """Answer a question from runs that are replicates of each other."""
    notes: list[str] = []
    replicates = distinct_seeds(runs, notes)
    layers, hits = _hits(replicates, notes) if question != "compressing" else ((), None)
    evidence = tuple(_all_evidence(replicates, question, notes))
    verdict = agreement([item.verdict for item in evidence])
    notes += [
        f"{item.info.label} is not shown to change more than in the untrained network"
        for item in evidence
        if item.verdict == "yes" and not item.exceeds_untrained
    ]
    if not evidence:
        notes.append("no metric that counts as evidence was measured at two layers or more")
    steps: tuple[Step, ...] = ()
    slopes = taus = None
    if hits is not None and len(layers) > 1:
        steps = _steps(replicates, layers, hits)
        if question == "predictive":
            slopes, taus = map(interval, bootstrap(hits))
            if len(replicates) == 1 and _is_noise(verdict, slopes, len(layers)):
                verdict = "inconclusive"
                notes.append("the test samples are too few to tell a rise of accuracy from none")
    return Answer(
        question=question,
        verdict=verdict,
        seeds=len(replicates),
        evidence=evidence,
        steps=steps,
        slope_interval=slopes,
        tau_interval=taus,
        notes=tuple(notes),
    )


def distinct_seeds(runs: Sequence[RunRecord], notes: list[str]) -> list[RunRecord]:
    """Return one run of each seed: a second one of the same seed is no replicate."""
    by_seed: dict[object, RunRecord] = {}
    for run in runs:
        key = run.directory if run.seed is None else str(run.seed)
        if key in by_seed:
            notes.append(f"{run.name} is left out: it has the seed of {by_seed[key].name}")
        else:
            by_seed[key] = run
    replicates = list(by_seed.values())
    if any(set(run.hidden_layers) != set(replicates[0].hidden_layers) for run in replicates):
        notes.append("the runs have different layers: those that all of them have are compared")
    return replicates


# Evidence


def _all_evidence(
    runs: Sequence[RunRecord], question: Question, notes: list[str]
) -> Iterator[MetricEvidence]:
    for info in evidence_metrics(runs, question):
        phase = "val"
        if question == "predictive" and all(_is_tested(run, info.label) for run in runs):
            phase = "test"
        problem = None
        item = _evidence(runs, info, phase, notes)
        if not all(_is_same(info, run.metric_info.get(info.label)) for run in runs):
            problem = "the runs measured it with different options"
        elif item is None:
            problem = "it was not measured at two layers or more in every run"
        elif info.evidence == "falls" and not (item.values > 0).all():
            problem = "a value is not above 0"
        elif _is_saturated(runs, info.label, phase, item.places):
            problem = "it is at the ceiling of its estimator, which tells about the sample size"
        elif item.untrained is None and info.evidence == "similarity":
            notes.append(f"{info.label} cannot say yes: the untrained network was not measured")
        if problem:
            notes.append(f"{info.label} is excluded: {problem}")
        elif item is not None:
            if question == "predictive" and phase == "val":
                notes.append(f"{info.label} is of validation, which chose the epoch as well")
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


def _is_same(info: MetricInfo, other: MetricInfo | None) -> bool:
    """Return whether the other run's values of a label, if it has any, are of the same metric."""
    return other is None or (info.metric, info.options) == (other.metric, other.options)


def _evidence(
    runs: Sequence[RunRecord], info: MetricInfo, phase: str, notes: list[str]
) -> MetricEvidence | None:
    layers = _layers(runs, info)
    columns = {layer: _profiles(runs, info.label, phase, layer) for layer in layers}
    kept = {layer: column for layer, column in columns.items() if np.isfinite(column).all()}
    if len(kept) < (1 if info.evidence == "similarity" else 2):
        return None
    for layer in layers:
        # Where no run has a value of two layers, the layer has no such neighbour.
        is_due = info.neighbour is None or np.isfinite(columns[layer]).any()
        if layer not in kept and is_due:
            notes.append(f"{info.label}: {layer} is left out, where a value is missing")
    names = tuple(kept)
    # The reference is the untrained network on validation: the test is for trained weights only.
    untrained = np.stack([_profiles(runs, info.label, "val", name, epoch=0) for name in names], 1)
    reference = _profiles(runs, info.label, phase, INPUT)
    is_defined = np.isfinite(untrained).all() and (info.evidence != "falls" or untrained.min() > 0)
    series = runs[0].series(phase, names[0], info.label)
    return MetricEvidence(
        info=info,
        phase=phase,
        n=0 if series is None else int(series.n[-1]),
        places=names,
        values=np.stack(list(kept.values()), axis=1),
        untrained=untrained if is_defined else None,
        reference=reference if np.isfinite(reference).all() else None,
    )


def _layers(runs: Sequence[RunRecord], info: MetricInfo) -> tuple[str, ...]:
    """Return the layers whose value is about depth alone: no head, and no neighbour that is one."""
    layers = [layer for layer in runs[0].layers if all(layer in run.layers for run in runs)]
    if info.neighbour == "next":
        last = {layer for run in runs for layer, after in pairwise(run.layers) if after == HEAD}
        layers = [layer for layer in layers if layer not in last]
    return tuple(layer for layer in layers if layer != HEAD)


def _profiles(
    runs: Sequence[RunRecord], metric: str, phase: str, layer: str, epoch: int | None = None
) -> Floats:
    """Return the values of the runs (seeds,) at an epoch, by default that of the tested weights."""

    def at(run: RunRecord) -> int | None:
        if phase == "test":  # there is one only, whose epoch need not be known
            return None
        return run.tested_epoch if epoch is None else epoch

    return np.array([run.value(phase, layer, metric, at(run)) for run in runs])


def _is_tested(run: RunRecord, metric: str) -> bool:
    return any(run.series("test", layer, metric) is not None for layer in run.hidden_layers)


def _is_saturated(runs: Sequence[RunRecord], label: str, phase: str, layers: Sequence[str]) -> bool:
    """Return whether a further value `saturated` of the metric is 1 at any of the layers."""
    flags = [_profiles(runs, f"{label}_saturated", phase, layer) for layer in layers]
    return bool(flags) and bool((np.stack(flags) == 1).any())


def _dissimilarity(values: Floats) -> Floats:
    """Return the mean of 1 − value over the pairs of each seed, (seeds,)."""
    return np.asarray((1 - values).mean(axis=1))


# Predictions


def _is_noise(verdict: Verdict, slopes: tuple[float, float], layers: int) -> bool:
    """Return whether the interval of the slope of accuracy holds what the verdict rules out."""
    low, high = slopes
    too_high = high * (layers - 1) >= MARGINS["rises"]
    return (verdict == "yes" and low <= 0) or (verdict == "no" and too_high)


def _hits(
    runs: Sequence[RunRecord], notes: list[str]
) -> tuple[tuple[str, ...], NDArray[np.bool_] | None]:
    """Return the layers, and which of their predictions are right: (seeds, n, L), or none.

    The samples are those that all runs have tested, paired by sample id.
    """
    files = [run.predictions for run in runs]
    there = [file for file in files if file is not None and "labels" in file]
    if not there or len(there) < len(runs):
        return (), None
    layers = tuple(layer for layer in runs[0].hidden_layers if all(layer in f for f in there))
    ids = [file.get("sample_ids", np.arange(len(file["labels"]))) for file in there]
    common = ids[0]
    for other in ids[1:]:
        common = np.intersect1d(common, other)
    if any(len(own) > len(common) for own in ids):
        notes.append(f"predictions are compared on the {len(common)} test samples of all runs")
    if not len(common) or not layers:
        return (), None
    hits = []
    for file, own in zip(there, ids, strict=True):
        order = np.argsort(own, kind="stable")
        rows = order[np.searchsorted(own[order], np.sort(common))]
        hits.append(
            np.stack([file[layer][rows] == file["labels"][rows] for layer in layers], axis=1)
        )
    return layers, np.stack(hits)


def _steps(
    runs: Sequence[RunRecord], layers: Sequence[str], hits: NDArray[np.bool_]
) -> tuple[Step, ...]:
    found = []
    for run, right in zip(runs, hits, strict=True):
        for i, (first, second) in enumerate(pairwise(layers)):
            a, b = right[:, i], right[:, i + 1]
            found.append(Step(first, second, run.seed, *mcnemar(a, b), kappa(~a, ~b)))
    adjusted = holm([step.p for step in found])
    return tuple(attrs.evolve(step, p=p) for step, p in zip(found, adjusted, strict=True))
