"""Tests of `cmp_core.analysis.questions`: the rule for each word, and runs written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import attrs
import numpy as np
import pytest
from hypothesis import given, strategies as st

from cmp_core import load_run
from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.evidence import MARGINS, MetricEvidence, Values
from cmp_core.analysis.questions import Finding, Word, answer, answers_of, combined, word_of
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet
from tests.simulations.questions import SAMPLES, Truth, _truths, draw, rates

ACCURACY = MetricInfo("accuracy", "accuracy", "", "fraction", "predictive", "rises")
PROBE = MetricInfo("probe_accuracy", "probe_accuracy", "", "fraction", "predictive", "rises")
PR = MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls")
CKA = MetricInfo(
    "linear_cka", "linear_cka", question="different", evidence="similarity", neighbour="previous"
)
R2 = MetricInfo(
    "ridge_r2", "ridge_r2", question="different", evidence="similarity", neighbour="next"
)
FACTS = {info.label: info for info in (ACCURACY, PROBE, PR, CKA, R2)}
N = 400

Rows = Mapping[str, Sequence[float | None]]
"""A metric's values at the layers in order, none where one is missing."""


class Write(Protocol):
    def __call__(self, test: Rows | None = ..., seed: int = ..., **more: Any) -> RunRecord: ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function that writes a run directory with a test of `N` samples and reads it back."""
    numbers = count()

    def written(
        test: Rows | None = None,
        seed: int = 0,
        *,
        untrained: Rows | None = None,
        val: Rows | None = None,
        spread: float | None = None,
        facts: Sequence[MetricInfo] | None = None,
        halves: Rows | None = None,
        hard: int = 0,
    ) -> RunRecord:
        """Write it; with a spread, samples have influences of that standard deviation."""
        folder = tmp_path / f"run_{next(numbers)}"
        folder.mkdir()
        rows = {**(val or {}), **(test or {})}
        depth = max(map(len, rows.values()), default=2)
        layers = [f"layer_{i}" for i in range(depth)]

        def by_layer(values: Rows) -> dict[str, dict[str, float]]:
            return {
                layer: {name: v for name, row in values.items() if (v := row[i]) is not None}
                for i, layer in enumerate(layers)
            }

        config = {"model": "greedy", "dataset": "digits", "layers": depth, "seed": seed}
        (folder / "params.yaml").write_text(json.dumps(config))
        line = {"phase": "val", "epoch": 1, "iter": 0, "acc": 0.9, "val_loss": 1.0, "n": 100}
        lines = [line | {"epoch": 0, "acc": 0.1, "metrics": by_layer(untrained or {})}]
        lines.append(line | {"metrics": by_layer(val or {})})
        (folder / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
        (folder / "environment.json").write_text(json.dumps({"layers": layers}))
        told = facts or [info for label, info in FACTS.items() if label in rows]
        (folder / "metrics.json").write_text(dump_metric_info(told))
        if test is not None:
            results: dict[str, Any] = {"acc": 0.9, "n": N, "epoch": 1, "metrics": by_layer(test)}
            if untrained is not None:
                results["untrained"] = {"n": N, "metrics": by_layer(untrained)}
            if halves is not None:
                results["fit"] = {"source": "training", "n": 900, "half": by_layer(halves)}
            (folder / "test_results.json").write_text(json.dumps(results))
            arrays: dict[str, Any] = {"sample_ids": np.arange(N)}
            for prefix, values in (("", test), ("untrained/", untrained or {})):
                for name, row in values.items():
                    for i in range(len(row) if spread is not None else 0):
                        rng = np.random.default_rng([hard, i, len(prefix)])
                        drawn = rng.normal(size=N).astype(np.float32)
                        arrays[f"{prefix}layer_{i}/{name}"] = spread * (drawn - drawn.mean())
            if spread is not None:
                np.savez(folder / "test_influences.npz", **arrays)
        return load_run(folder)

    return written


# The rule


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(1, 100), st.floats(0.001, 0.5))
def test_a_word_never_contradicts_its_interval(
    effect: float, error: float, freedom: float, margin: float
) -> None:
    found = Estimate(effect, error, freedom)
    low, high = found.interval
    word = word_of(found, margin)
    assert (word == "yes") == (low > margin)
    assert (word == "no") == (high < margin)
    if word != "inconclusive":
        assert found.p(margin) < 0.05 + 1e-9


def test_without_an_interval_nothing_is_said() -> None:
    assert word_of(Estimate(0.5), 0.01) == "inconclusive"


@pytest.mark.parametrize(
    ("words", "together"),
    [
        (["yes"], "yes"),
        (["no", "no"], "no"),
        (["yes", "no"], "partly"),
        (["yes", "partly"], "partly"),
        (["yes", "inconclusive"], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_words_together(words: list[Word], together: Word) -> None:
    assert combined(words) == together


def curve(*means: float, error: float = 0.001, info: MetricInfo = ACCURACY) -> Finding:
    """Three seeds of a curve whose layers have an error each of their own."""
    rng = np.random.default_rng(0)
    influences = rng.normal(size=(1, N, len(means))) * error * math.sqrt(N)
    influences = np.repeat(influences - influences.mean(axis=1, keepdims=True), 3, axis=0)
    values = np.repeat(np.array([means]), 3, axis=0) + error / 10 * rng.normal(size=(3, len(means)))
    names = tuple(f"layer_{i}" for i in range(len(means)))
    beside = {f"layer_{i}": f"layer_{i + 1}" for i in range(len(means))}
    item = MetricEvidence(info, "test", N, names, Values(values, influences), beside=beside)
    return Finding(item)


@pytest.mark.parametrize(
    ("means", "word", "knee"),
    [
        ((0.90, 0.92, 0.94, 0.96), "yes", None),
        ((0.90, 0.95, 0.951, 0.951), "yes", "layer_1"),
        ((0.90, 0.95, 0.93, 0.90), "partly", "layer_1"),
        ((0.90, 0.95, 0.93, 0.96), "partly", None),
        ((0.90, 0.901, 0.90, 0.90), "no", "layer_0"),
        ((0.95, 0.93, 0.91, 0.90), "no", "layer_0"),
    ],
)
def test_the_first_question_by_curve(
    means: tuple[float, ...], word: Word, knee: str | None
) -> None:
    found = curve(*means)
    assert found.word == word
    assert found.knee == knee
    assert curve(*means, error=0.05).word == "inconclusive"


def test_compression_is_a_fall_of_the_logarithm() -> None:
    halved = curve(20, 15, 10, error=0.01, info=PR)
    assert halved.word == "yes"
    assert halved.evidence.effect.effect == pytest.approx(math.log(2), abs=0.001)
    assert halved.knee is None
    assert curve(20, 20, 20, error=0.01, info=PR).word == "no"


def test_differences_are_told_by_pair() -> None:
    found = curve(0.3, 0.99, 0.99, info=R2)
    assert found.word == "partly"
    assert [(s.first, s.second, s.word) for s in found.steps] == [
        ("layer_0", "layer_1", "yes"),
        ("layer_1", "layer_2", "no"),
        ("layer_2", "layer_3", "no"),
    ]


def test_steps_are_adjusted_for_their_number() -> None:
    steps = curve(0.9, 0.901, 0.902, 0.95).steps
    plain = [step.estimate.p(0) for step in steps]
    assert [step.p for step in steps] == pytest.approx(
        [2 * min(plain[:2]), max(2 * min(plain[:2]), max(plain[:2])), 3 * plain[2]], rel=1e-6
    ) or all(a >= b for a, b in zip([s.p for s in steps], plain, strict=True))


@given(
    st.sampled_from([ACCURACY, PR, R2]),
    st.lists(st.floats(0.5, 0.99), min_size=2, max_size=5),
    st.floats(0.001, 0.05),
)
def test_no_word_contradicts_what_is_printed_beside_it(
    info: MetricInfo, means: list[float], error: float
) -> None:
    found = curve(*means, error=error, info=info)
    item, margin = found.evidence, found.evidence.margin
    places = range(len(means))
    assert (found.p < 0.05) == (found.word != "inconclusive")
    if info.evidence == "similarity":
        decided = {step.word for step in found.steps}
        assert found.word in decided or (found.word, decided) == ("partly", {"yes", "no"})
        assert all(
            (step.word == "yes") == (step.estimate.interval[0] > margin) for step in found.steps
        )
        assert all(
            (step.word == "no") == (step.estimate.interval[1] < margin) for step in found.steps
        )
    elif found.word == "yes":
        assert item.effect.interval[0] > margin
        if info.evidence == "rises":
            assert not any(s.estimate.effect < 0 and s.p < 0.05 for s in found.steps)
    elif found.word == "no":
        later = places[1:] if info.evidence == "rises" else places[-1:]
        assert all(item.between(0, i).interval[1] < margin for i in later)
    elif found.word == "partly":
        falls = [item.between(i, j) for j in places for i in range(j)]
        assert any(one.interval[0] > margin for one in falls)  # it rises,
        assert any(one.effect < margin for one in falls)  # and then does not
    if found.knee is not None:
        last = item.places.index(found.knee)
        assert all(item.between(last, j).interval[1] < margin for j in places[last + 1 :])


@given(
    st.lists(st.floats(0.5, 0.99), min_size=3, max_size=5),
    st.floats(0.001, 0.05),
)
def test_what_is_not_decided_is_named(means: list[float], error: float) -> None:
    """Beside an effect that is decided by itself stands the one that is not."""
    found = curve(*means, error=error)
    step = found.undecided
    assert (step is not None) == (found.word == "inconclusive")
    if step is not None:
        low, high = step.estimate.interval
        assert low <= found.evidence.margin <= high
        headline = word_of(found.evidence.effect, found.evidence.margin)
        assert found.is_undecided_itself == (headline == "inconclusive")


def test_a_rise_or_a_knee_that_is_not_settled_is_not_said() -> None:
    """By half of the fitting samples the layers between are worse by four points."""
    found = curve(0.9, 0.95, 0.9501, 0.9)
    assert (found.word, found.knee) == ("partly", "layer_1")
    settled = attrs.evolve(found.evidence, n_fit=900, halves=found.evidence.values)
    assert Finding(settled).word == "partly"
    moved = found.evidence.values - np.array([0, 0.04, 0.04, 0])
    unsettled = Finding(attrs.evolve(settled, halves=moved))
    assert unsettled.evidence.is_settled
    assert (unsettled.word, unsettled.knee) == ("inconclusive", None)
    assert math.isnan(unsettled.p)


def test_seeds_that_tie_have_no_p_wherever_they_stand(write: Write) -> None:
    tied = {"accuracy": [0.5, 0.9], "probe_accuracy": [0.5, 0.9]}
    runs = [
        write({**tied, name: [0.5, 0.9 + 0.01 * seed]}, seed)
        for name in ("accuracy", "probe_accuracy")
        for seed in range(3)
    ]
    for found in (answer(runs[:3], "predictive"), answer(runs[3:], "predictive")):
        assert found.word == "inconclusive"
        assert math.isnan(found.p)
        assert any("its error is not known" in note for note in found.notes)


def test_what_would_decide_is_about_what_is_not_decided() -> None:
    """Two pairs are told from the margin; the third is not, however many seeds there are."""
    found = curve(0.3, 0.99, 0.9499, error=0.001, info=R2)
    assert found.word == "inconclusive"
    assert [step.word for step in found.steps] == ["yes", "no", "inconclusive"]
    assert "samples would be needed" in found.what_would_decide() or "too near" in (
        found.what_would_decide()
    )


# Runs


def test_seeds_that_share_their_samples_are_crossed(write: Write) -> None:
    runs = [
        write({"accuracy": [0.90, 0.92, 0.93 + seed / 1000]}, seed, spread=0.1) for seed in range(3)
    ]
    found = answer(runs, "predictive")
    (item,) = found.evidence
    assert (found.seeds, item.phase, item.n) == (3, "test", N)
    assert item.trained.influences is not None
    one = answer(runs[:1], "predictive").evidence[0]
    assert item.effect.error == pytest.approx(one.effect.error, rel=0.1)  # of the same samples
    assert found.word == answer(runs[::-1], "predictive").word


def test_one_seed_is_described_without_a_word(write: Write) -> None:
    found = answer([write({"accuracy": [0.5, 0.9]}, spread=0.1)], "predictive")
    assert (found.word, found.is_descriptive) == (None, True)
    assert found.evidence[0].effect.half_width == pytest.approx(
        1.966 * 0.1 * math.sqrt(2 / N), rel=0.1
    )


@pytest.mark.parametrize("bad", [[], [1.0], [math.nan] * N, [0.0] * (N - 1) + [math.inf]])
def test_influences_that_cannot_be_any_are_none(write: Write, bad: list[float]) -> None:
    run = write({"accuracy": [0.5, 0.9]}, spread=0.1)
    arrays = {f"layer_{i}/accuracy": np.array(bad) for i in range(2)}
    np.savez(run.directory / "test_influences.npz", sample_ids=np.arange(len(bad)), **arrays)
    (item,) = answer([load_run(run.directory)], "predictive").evidence
    assert item.trained.influences is None


def test_without_influences_the_seeds_alone_tell(write: Write) -> None:
    runs = [write({"accuracy": [0.5, 0.7 + seed / 100]}, seed) for seed in range(3)]
    found = answer(runs, "predictive")
    assert found.word == "yes"
    assert found.evidence[0].effect.freedom == 2
    assert "only that over seeds" in found.notes[0]


def test_an_absolute_difference_is_one_whatever_was_there_before(write: Write) -> None:
    """CKA .3 and R² .2 before and after training: different, and not learned."""
    rows = {"linear_cka": [None, 0.3, 0.3], "ridge_r2": [0.2, 0.2, None]}
    runs = []
    for seed in range(3):
        nudged = {name: [v and v + seed / 1000 for v in row] for name, row in rows.items()}
        runs.append(write(nudged, seed, untrained=rows, spread=0.05))
    found = answer(runs, "different")
    assert found.word == "yes"
    for item in found.evidence:
        assert item.learned is not None
        low, high = item.learned.interval
        assert low < 0 < high or abs(item.learned.effect) < item.margin / 10


def test_layers_that_are_alike_are_not_different(write: Write) -> None:
    runs = [
        write({"linear_cka": [None, 0.99, 0.99 + seed / 1000]}, seed, spread=0.02)
        for seed in range(3)
    ]
    found = answer(runs, "different")
    assert found.word == "no"
    assert [pair[:2] for pair in found.pairs] == [("layer_0", "layer_1"), ("layer_1", "layer_2")]


def test_metrics_that_disagree_say_partly(write: Write) -> None:
    runs = []
    for seed in range(3):
        rows = {"accuracy": [0.5, 0.9 + seed / 1000], "probe_accuracy": [0.9, 0.9 + seed / 9999]}
        runs.append(write(rows, seed, spread=0.01))
    found = answer(runs, "predictive")
    assert [finding.word for finding in found.findings] == ["yes", "no"]
    assert found.word == "partly"


def test_a_network_that_counts_twice_is_left_out(write: Write) -> None:
    rows = {"accuracy": [0.5, 0.9]}
    copies = [write(rows, seed, spread=0.1) for seed in range(3)]
    found = answer(copies, "predictive")
    assert (found.seeds, found.word) == (1, None)
    assert sum("it has all the values of" in note for note in found.notes) == 2
    twice = [write({"accuracy": [0.5, 0.8]}, 7), write({"accuracy": [0.5, 0.9]}, 7)]
    assert any("it has the seed of" in note for note in answer(twice, "predictive").notes)


def test_too_few_fitting_samples_exclude_a_metric(write: Write) -> None:
    """By half of them the rise is .013 less, and a fifth of the margin is .002."""
    rows, half = {"probe_accuracy": [0.90, 0.95]}, {"probe_accuracy": [0.88, 0.917]}
    found = answer([write(rows, seed, halves=half) for seed in range(2)], "predictive")
    assert found.findings == ()
    assert any("900 fitting samples are too few" in note for note in found.notes)
    same = {"probe_accuracy": [0.89, 0.941]}  # both layers fall alike
    runs = [write({"probe_accuracy": [0.90, 0.95 + s / 1e5]}, s, halves=same) for s in range(2)]
    assert len(answer(runs, "predictive").findings) == 1


def test_what_cannot_be_compared_is_excluded_with_the_reason(write: Write) -> None:
    other = [MetricInfo("accuracy", "accuracy", "", "", "predictive", "rises", options={"a": 1})]
    rows = {"accuracy": [0.5, 0.9]}
    for runs, question, reason in (
        ([write(rows), write({"accuracy": [0.5, 0.8]}, 1, facts=other)], "predictive", "options"),
        ([write({"participation_ratio": [4, 0]})], "compressing", "a value is not above 0"),
        ([write({"accuracy": [0.5, None]})], "predictive", "not measured at two layers or more"),
    ):
        found = answer(runs, question)  # type: ignore[arg-type]
        assert any(reason in note for note in found.notes), reason
        assert found.findings == ()
        assert "no metric that counts as evidence" in found.notes[-1]


def test_a_layer_that_lacks_a_value_is_left_out(write: Write) -> None:
    found = answer([write({"accuracy": [0.5, None, 0.9]})], "predictive")
    assert found.evidence[0].places == ("layer_0", "layer_2")
    assert "accuracy: layer_1 is left out, where a value is missing" in found.notes


def test_many_layers_that_lack_a_value_are_left_out_by_one_note(write: Write) -> None:
    found = answer([write({"accuracy": [0.5, *[None] * 27, 0.9]})], "predictive")
    (note,) = [note for note in found.notes if "left out" in note]
    assert note == "accuracy: layer_1–layer_27 are left out, where a value is missing"


def test_validation_answers_where_nothing_was_tested(write: Write) -> None:
    runs = [
        write(val={"accuracy": [0.5, 0.9 + s / 100]}, untrained={"accuracy": [0.1, 0.1]}, seed=s)
        for s in range(3)
    ]
    found = answer(runs, "predictive")
    assert found.evidence[0].phase == "val"
    assert found.evidence[0].learned is not None
    assert any("is of validation, which chose the epoch" in note for note in found.notes)


def test_learned_is_the_effect_without_that_before_training(write: Write) -> None:
    runs = [
        write({"accuracy": [0.5, 0.9 + s / 100]}, s, untrained={"accuracy": [0.1, 0.2]}, spread=0.1)
        for s in range(3)
    ]
    (item,) = answer(runs, "predictive").evidence
    assert item.untrained_effect is not None
    assert item.learned is not None
    assert item.untrained_effect.effect == pytest.approx(0.1)
    assert item.learned.effect == pytest.approx(0.41 - 0.1)
    assert item.learned.error > item.effect.error  # of two networks on the same samples


def test_a_seed_far_from_the_others_is_told(write: Write) -> None:
    ends = [0.9, 0.905, 0.91, 0.902, 0.1]
    runs = [write({"accuracy": [0.5, end]}, seed) for seed, end in enumerate(ends)]
    notes = answer(runs, "predictive").notes
    assert any("seed 4 is far from the others" in note for note in notes)
    assert not any("seed 1 is far" in note for note in notes)


def test_what_would_decide_is_told(write: Write) -> None:
    runs = [write({"accuracy": [0.5, 0.5 + gain]}, seed) for seed, gain in enumerate((0.0, 0.06))]
    notes = answer(runs, "predictive").notes
    assert any("seeds would be expected to decide" in note for note in notes)


def test_margins_are_those_of_the_documents() -> None:
    assert MARGINS == {"rises": 0.01, "falls": 0.05, "similarity": 0.05}


@pytest.mark.parametrize(
    ("info", "margin", "in_units"),
    [(ACCURACY, 0.04, 0.04), (PR, 0.5, math.log(2)), (R2, 0.2, 0.2)],
)
def test_a_stated_margin_takes_the_place_of_the_usual_one(
    info: MetricInfo, margin: float, in_units: float
) -> None:
    stated = attrs.evolve(info, margin=margin)
    found = curve(0.90, 0.93, 0.93, info=stated)
    assert found.evidence.margin == pytest.approx(in_units)
    assert found.word == "no" if info is ACCURACY else found.word != "yes"
    assert curve(0.90, 0.93, 0.93, info=ACCURACY).word == "yes"


def test_runs_that_state_different_margins_have_no_answer(write: Write) -> None:
    rows = {"accuracy": [0.5, 0.9]}
    wide = attrs.evolve(ACCURACY, margin=0.2)
    runs = [write(rows, 0), write({"accuracy": [0.5, 0.91]}, 1, facts=[wide])]
    notes = answer(runs, "predictive").notes
    assert "accuracy is excluded: the runs state different margins" in notes


def test_answers_that_are_given_together_are_adjusted(write: Write) -> None:
    """Of two experiments; the p of an answer is the largest of its findings."""
    runs = [
        write({"accuracy": [0.5, end], "participation_ratio": [9, fall]}, seed, spread=0.01)
        for seed, (end, fall) in enumerate([(0.60, 6.0), (0.62, 5.0), (0.66, 4.5)])
    ]
    found = answers_of(RunSet(tuple(runs)))
    (own,) = found.values()
    assert [one.question for one in own] == ["predictive", "compressing", "different"]
    first, second, third = own
    low, high = sorted((first.p, second.p))
    adjusted = sorted((first.adjusted_p, second.adjusted_p))
    assert adjusted == pytest.approx([2 * low, max(2 * low, high)])
    assert first.p == max(finding.p for finding in first.findings)
    assert math.isnan(third.adjusted_p)


# Populations


@pytest.mark.parametrize("truth", _truths(), ids=lambda truth: truth.name)
def test_wrong_words_are_rare(truth: Truth) -> None:
    """At most 5 % of 100 sets of runs, and what chance adds to that once in a thousand."""
    for n in SAMPLES[:2]:
        found = rates(truth, 3, n, draws=100)
        assert found.wrong(truth) <= 0.13, (n, found.words)
        assert found.false_knees <= 0.13
        assert not found.coverage < 0.87
        assert not found.learned < 0.87


def test_a_collapsed_seed_is_told_and_others_are_not() -> None:
    """In at least 98 % of 200 sets of runs, and in at most 5 % of those that are alike."""
    truths = {truth.name: truth for truth in _truths()}
    for name, low, high in (("five margins, a collapsed seed", 0.98, 1), ("five margins", 0, 0.05)):
        for seeds in (3, 5):
            told = sum(
                bool(Finding(draw(truths[name], seeds, 2000, rng)[0]).outlying_seeds)
                for rng in map(np.random.default_rng, range(200))
            )
            assert low <= told / 200 <= high
