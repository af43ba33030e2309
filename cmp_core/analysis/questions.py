"""The three research questions, answered from what runs have logged.

An effect has a 95 % interval over seeds and test samples and a margin, the smallest effect that
matters: yes where the interval lies above the margin, no where it lies below, otherwise
inconclusive. Metrics declare what they are evidence of (`question`, `evidence`);
`docs/questions.md` states the rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal

import attrs
import numpy as np

from cmp_core.analysis.crossed import LEVEL, Estimate
from cmp_core.analysis.evidence import MetricEvidence, find_evidence
from cmp_core.analysis.inference import holm, kappa
from cmp_core.analysis.runs import Runs, as_run_set
from cmp_core.analysis.seeds import distinct_networks
from cmp_core.runs.metric_info import Question
from cmp_core.runs.notebook import html_table
from cmp_core.runs.origin import MEANING
from cmp_core.runs.record import RunRecord

QUESTIONS: dict[Question, str] = {
    "predictive": "Are later layers more predictive?",
    "compressing": "Are layers compressing?",
    "different": "Are layers genuinely different?",
}

Word = Literal["yes", "partly", "no", "inconclusive"]

OUTLYING = 4 * 1.4826
"""How many median absolute deviations a seed may be from the median: 4 normal ones."""

OUTLYING_MARGINS = 10
"""How many margins at least; the deviation of few seeds is small by chance."""


def word_of(estimate: Estimate, margin: float) -> Word:
    """Return what an effect says: its interval against the smallest effect that matters.

    >>> word_of(Estimate(0.03, error=0.005, freedom=30), margin=0.01)
    'yes'
    """
    low, high = estimate.interval
    if low > margin:
        return "yes"
    return "no" if high < margin else "inconclusive"


def combined(words: Sequence[Word]) -> Word:
    """Return what several words say together.

    All the same: that. Otherwise inconclusive where one is, and else partly.

    >>> combined(["yes", "yes"]), combined(["yes", "no"]), combined(["no", "inconclusive"])
    ('yes', 'partly', 'inconclusive')
    """
    if len(set(words)) == 1:
        return words[0]
    return "inconclusive" if "inconclusive" in words or not words else "partly"


@attrs.frozen
class Step:
    """A layer and a later one, by one metric.

    Attributes:
        first, second: the layers.
        estimate: by how much the second exceeds the first; of a similarity 1 - value.
        p: of a difference of 0, of all steps of the metric adjusted by Holm's method; where there
            is a word, of the effect being the margin.
        word: what the effect says against the margin, where that is asked.
    """

    first: str
    second: str
    estimate: Estimate
    p: float
    word: Word | None = None


@attrs.frozen(eq=False)
class Finding:
    """What the rule makes of a metric's evidence."""

    evidence: MetricEvidence

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """Neighbouring layers, in order of depth."""
        item = self.evidence
        if item.direction == "similarity":
            return tuple(self._pairs)
        found = [item.between(i, i + 1) for i in range(len(item.places) - 1)]
        adjusted = holm([one.p(0.0) for one in found])
        return tuple(
            Step(first, second, one, p)
            for (first, second), one, p in zip(pairwise(item.places), found, adjusted, strict=True)
        )

    @property
    def word(self) -> Word:
        """What the metric says by itself."""
        return self._decision[0]

    @property
    def p(self) -> float:
        """The p-value of what decides: the largest, where several tests must agree.

        Each is of an effect being the margin, or of a fall being none; below .05 exactly where the
        word is not inconclusive.
        """
        return self._decision[1]

    @cached_property
    def _decision(self) -> tuple[Word, float]:
        item, margin = self.evidence, self.evidence.margin
        if item.direction == "similarity":
            words = [step.word for step in self.steps if step.word is not None]
            return combined(words), largest([step.p for step in self.steps])
        headline, p = word_of(item.effect, margin), item.effect.p(margin)
        if item.direction == "falls":
            return headline, p
        if headline == "yes":
            falls = [step.p for step in self.steps if step.estimate.effect < 0 and step.p < LEVEL]
            return ("partly", max(p, *falls)) if falls else ("yes", p)
        rises, after = self._rises, self._after
        humps = [
            max(up.p, down.p)
            for up, down in zip(rises, after, strict=False)
            if (up.word, down.word) == ("yes", "no")
        ]
        if humps:  # it rises, and then does no more
            return "partly", min(humps)
        if all(one.word == "no" for one in rises):
            return "no", max(one.p for one in rises)
        return "inconclusive", self._least_certain.p

    @property
    def _rises(self) -> list[Step]:
        """By how much each layer exceeds the first, against the margin."""
        return [self._against_margin(0, i) for i in range(1, len(self.evidence.places))]

    @property
    def _after(self) -> list[Step]:
        """By how much the last layer exceeds each between it and the first."""
        last = len(self.evidence.places) - 1
        return [self._against_margin(i, last) for i in range(1, last)]

    def _against_margin(self, first: int, second: int) -> Step:
        item = self.evidence
        found = item.between(first, second)
        names = item.places[first], item.places[second]
        return Step(*names, found, found.p(item.margin), word_of(found, item.margin))

    @cached_property
    def undecided(self) -> Step | None:
        """What is not decided where the word is inconclusive: the least certain of the effects."""
        is_asked = self.word == "inconclusive" and not self.evidence.foreign
        return self._least_certain if is_asked else None

    @property
    def is_undecided_itself(self) -> bool:
        """Whether what is not decided is the effect, or a pair, that is told with its word."""
        return self.evidence.direction != "rises" or self._headline.word == "inconclusive"

    @property
    def _headline(self) -> Step:
        return self._against_margin(0, len(self.evidence.places) - 1)

    @property
    def _least_certain(self) -> Step:
        """The effect whose distance from the margin is the least certain, of those that matter.

        Of a rise the last layer's; where that is decided and no yes, another layer's over the
        first; or where one has risen, the last layer's over that one.
        """
        item = self.evidence
        found = self._pairs
        if item.direction != "similarity":
            found = [self._headline]
        if item.direction == "rises" and found[0].word == "no":
            risen = [one.word == "yes" for one in self._rises]
            after = [one for one, has_risen in zip(self._after, risen, strict=False) if has_risen]
            found = [one for one in self._rises if one.word == "inconclusive"] or after
        return max(found, key=lambda one: 2.0 if math.isnan(one.p) else one.p)

    @cached_property
    def knee(self) -> str | None:
        """The first layer that no later one is shown, or may yet be, to exceed by the margin.

        None where that is the last layer, of what is no rise, and of one seed.
        """
        item = self.evidence
        last = len(item.places) - 1
        if item.direction != "rises" or not item.is_tested:
            return None
        for i in range(last):
            gains = [item.between(i, j) for j in range(i + 1, last + 1)]
            if all(word_of(gain, item.margin) == "no" for gain in gains):
                return item.places[i]
        return None

    @cached_property
    def outlying_seeds(self) -> tuple[int, ...]:
        """Positions of seeds whose value is far from the median of all at a layer."""
        item = self.evidence
        distances = np.abs(item.scaled - np.median(item.scaled, axis=0))
        spread = np.median(distances, axis=0)
        limit = np.maximum(OUTLYING * spread, OUTLYING_MARGINS * item.margin)
        return tuple(int(i) for i in np.flatnonzero((distances > limit).any(axis=1)))

    def what_would_decide(self) -> str:
        """Return how many seeds or samples would be expected to decide, in words.

        That is, to narrow the interval of the least certain of the effects that must be decided to
        less than their distance from the margin, if they stay where they are.
        """
        found = self._least_certain.estimate
        distance = abs(found.effect - self.evidence.margin)
        if not math.isfinite(found.between_seeds):
            return "its error is not known: the seeds tie, or the fits are of too few samples"
        for seeds in range(found.seeds + 1, 101):
            if found.half_width_of(seeds) < distance:
                return f"about {seeds} seeds would be expected to decide"
        for factor in (2, 5, 10, 20, 50, 100):
            if found.half_width_of(100, factor) < distance:
                return f"more than {factor / 2:.0f} times as many test samples would be needed"
        return "the effect is too near to the margin to be told from it"

    @property
    def _pairs(self) -> list[Step]:
        """By how much each pair of neighbours differs, of a similarity."""
        item = self.evidence
        return [
            Step(*_pair_of(item, name), found, found.p(item.margin), word_of(found, item.margin))
            for name, found in zip(item.places, map(item.at, range(len(item.places))), strict=True)
        ]


def _pair_of(item: MetricEvidence, name: str) -> tuple[str, str]:
    """Return the two layers that a similarity at a layer is of."""
    other = item.beside.get(name, "?")
    return (other, name) if item.info.neighbour == "previous" else (name, other)


def largest(p: Sequence[float]) -> float:
    """Return the largest p-value, NaN where one is NaN or there is none."""
    return math.nan if not p or any(map(math.isnan, p)) else max(p)


@attrs.frozen(eq=False, repr=False)
class Answer:
    """The answer of replicate runs to a research question.

    Attributes:
        question: which.
        seeds: replicates; one is described, without a word.
        findings: of the metrics that say something, in the order of the log.
        kappas: for the question about differences, Cohen's κ of the errors of neighbouring layers
            on the test samples, mean over seeds, by pair.
        notes: what was left out, and why, in sentences.
        adjusted_p: `p` adjusted by Holm's method for the answers that are given beside it.
    """

    question: Question
    seeds: int
    findings: tuple[Finding, ...] = ()
    kappas: tuple[tuple[str, str, float], ...] = ()
    notes: tuple[str, ...] = ()
    adjusted_p: float = math.nan

    def __repr__(self) -> str:
        return f"<Answer {self.title} {self.short_verdict}>"

    def _repr_html_(self) -> str:
        from cmp_core.analysis.tables import html_of_answer

        return html_of_answer(self)

    @property
    def title(self) -> str:
        """The question in words."""
        return QUESTIONS[self.question]

    @property
    def evidence(self) -> tuple[MetricEvidence, ...]:
        """What the metrics have measured."""
        return tuple(finding.evidence for finding in self.findings)

    @property
    def is_foreign(self) -> bool:
        """Whether it rests on metrics of another program, which may mean something else."""
        return any(item.foreign for item in self.evidence)

    @property
    def is_descriptive(self) -> bool:
        """Whether it is described and not tested: of one seed, or of another program's metrics."""
        return self.seeds < 2 or self.is_foreign

    @property
    def word(self) -> Word | None:
        """What all evidence says; none for what is described, and without evidence."""
        if self.is_descriptive or not self.findings:
            return None
        if self.question == "different":
            return combined([word for _, _, word in self.pairs])
        return combined([finding.word for finding in self.findings])

    @cached_property
    def pairs(self) -> tuple[tuple[str, str, Word], ...]:
        """What the metrics say together of each pair of neighbours, in order of depth."""
        words: dict[tuple[str, str], list[Word]] = {}
        for finding in self.findings:
            for step in finding.steps if self.question == "different" else ():
                if step.word is not None:
                    words.setdefault((step.first, step.second), []).append(step.word)
        return tuple((*pair, combined(own)) for pair, own in words.items())

    @property
    def p(self) -> float:
        """The largest p-value of the findings, which must agree; NaN for what is described."""
        if self.is_descriptive:
            return math.nan
        return largest([finding.p for finding in self.findings])

    @property
    def short_verdict(self) -> str:
        """The answer and what it rests on, in a few words."""
        if self.word is None:
            why = "another program's metrics" if self.is_foreign else "one seed"
            return f"{why}: described, not tested" if self.findings else "no evidence"
        return f"{self.word} ({self.seeds} seeds)"


class Answers(dict[str, tuple[Answer, ...]]):
    """The answers of each group of replicates to all questions, by its label."""

    def _repr_html_(self) -> str:
        return "".join(
            html_table(label, [], []) + "".join(one._repr_html_() for one in answers)
            for label, answers in self.items()
        )


def answers_of(runs: Runs) -> Answers:
    """Return the answers of each group of replicates to all questions, by its label.

    They are given together, and their `adjusted_p` takes account of that.

    Args:
        runs: runs, run directories, snapshot files, or a set of runs.

    Raises:
        UsageError: what is given is no run.
    """
    groups = as_run_set(runs).groups
    found = [answer(group.runs, question) for group in groups for question in QUESTIONS]
    adjusted = holm([one.p for one in found])
    told = iter(attrs.evolve(one, adjusted_p=p) for one, p in zip(found, adjusted, strict=True))
    return Answers({group.label: tuple(next(told) for _ in QUESTIONS) for group in groups})


def answer(runs: Sequence[RunRecord], question: Question) -> Answer:
    """Answer a question from runs that are replicates of each other."""
    notes: list[str] = []
    replicates = distinct_networks(runs, notes)
    findings = tuple(Finding(item) for item in find_evidence(replicates, question, notes))
    if not findings:
        notes.append("no metric that counts as evidence was measured at two layers or more")
    for finding in findings:
        label = finding.evidence.info.label
        for place in finding.outlying_seeds if len(replicates) > 2 else ():
            notes.append(
                f"{label}: seed {replicates[place].seed} is far from the others at a layer, and "
                "counts all the same"
            )
        if len(replicates) > 1 and finding.undecided is not None:
            notes.append(f"{label} is inconclusive: {finding.what_would_decide()}")
    foreign = [finding.evidence.info.label for finding in findings if finding.evidence.foreign]
    if foreign:
        which = "the metrics" if len(foreign) == len(findings) else ", ".join(foreign)
        notes.append(
            f"another program has logged {which}: {MEANING}, so they are described and not tested"
        )
    kappas = _kappas(replicates) if question == "different" else ()
    return Answer(question, len(replicates), findings, kappas, tuple(notes))


def _kappas(runs: Sequence[RunRecord]) -> tuple[tuple[str, str, float], ...]:
    """Return Cohen's κ of the errors of neighbouring layers, the mean over seeds."""
    files = [run.predictions for run in runs]
    there = [file for file in files if file is not None and "labels" in file]
    if not there or len(there) < len(runs):
        return ()
    layers = [layer for layer in runs[0].hidden_layers if all(layer in file for file in there)]
    wrong = [{name: file[name] != file["labels"] for name in layers} for file in there]
    found = []
    for first, second in pairwise(layers):
        values = [kappa(own[first], own[second]) for own in wrong]
        known = [value for value in values if math.isfinite(value)]
        found.append((first, second, float(np.mean(known)) if known else math.nan))
    return tuple(found)
