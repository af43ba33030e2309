"""The research questions: run directories and expected values worked out by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np
import pytest

from cmp_core import load_run
from cmp_core.analysis.questions import MARGINS, QUESTIONS, answer
from cmp_core.measurement.metric import definition_of
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord
from cmp_core.testing import check_metric

ACCURACY = MetricInfo("accuracy", "accuracy", question="predictive", evidence="rises")
PROBE = MetricInfo("probe_accuracy", "probe_accuracy", question="predictive", evidence="rises")
MARGIN = MetricInfo("margin", "margin", question="predictive")
PR = MetricInfo("participation_ratio", "participation_ratio", "", "", "compressing", "falls")
MI = MetricInfo("mutual_information", "mutual_information", "", "", "compressing", "falls")
CKA = MetricInfo(
    "linear_cka", "linear_cka", question="different", evidence="similarity", neighbour="previous"
)
R2 = MetricInfo(
    "ridge_r2", "ridge_r2", question="different", evidence="similarity", neighbour="next"
)
FACTS = (ACCURACY, PROBE, MARGIN, PR, MI, CKA, R2)

Values = Mapping[str, Sequence[float | None]]
"""A metric's values at the layers in order, none where one is missing."""

WriteRun = Callable[..., RunRecord]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """A function that writes a run directory and reads it back.

    The network is untrained at epoch 0, best and tested at epoch 1, and worse, with values of 0.5
    that no answer may rest on, at epoch 2.
    """
    numbers = count()

    def write(
        val: Values | None = None,
        *,
        seed: int | None = 0,
        untrained: Values | None = None,
        test: Values | None = None,
        reference: Mapping[str, float] | None = None,
        predictions: Mapping[str, Any] | None = None,
        facts: Iterable[MetricInfo] | Literal["measured"] | None = "measured",
        layers: Sequence[str] | None = None,
        test_epoch: int | None = 1,
    ) -> RunRecord:
        folder = tmp_path / f"run_{next(numbers)}"
        folder.mkdir()
        val, measured = val or {}, {**(val or {}), **(test or {})}
        depth = max((len(row) for row in measured.values()), default=2)
        layers = layers or [f"layer_{i}" for i in range(depth)]

        def rows(values: Values) -> dict[str, dict[str, float]]:
            return {
                layer: {name: v for name, row in values.items() if (v := row[i]) is not None}
                for i, layer in enumerate(layers)
            }

        config = {"model": "greedy", "dataset": "digits", "layers": depth, "seed": seed}
        (folder / "params.yaml").write_text(json.dumps(config))
        at = [untrained or {}, val, {name: [0.5] * len(layers) for name in val}]
        lines = [
            {"phase": "val", "epoch": epoch, "iter": 0, "acc": acc, "val_loss": 1.0, "n": 100}
            | {"metrics": rows(values), "reference": dict(reference or {})}
            for epoch, (values, acc) in enumerate(zip(at, (0.1, 0.9, 0.8), strict=True))
        ]
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "environment.json").write_text(json.dumps({"layers": list(layers)}))
        if facts is not None:
            told = [f for f in FACTS if f.label in measured] if facts == "measured" else facts
            (folder / "metrics.json").write_text(dump_metric_info(told))
        if test is not None:
            results = {"acc": 0.9, "n": 200, "metrics": rows(test)}
            results |= {} if test_epoch is None else {"epoch": test_epoch}
            (folder / "test_results.json").write_text(json.dumps(results))
        if predictions is not None:
            np.savez(folder / "test_predictions.npz", **predictions)
        return load_run(folder)

    return write


def predictions(*accuracies: float, n: int = 100, first_id: int = 0) -> dict[str, Any]:
    """Predictions of layers that get the first so many samples right; all labels are 1."""
    rows = {f"layer_{i}": np.arange(n) < round(a * n) for i, a in enumerate(accuracies)}
    return {
        "sample_ids": np.arange(first_id, first_id + n),
        "labels": np.ones(n, np.int64),
    } | {layer: right.astype(np.int64) for layer, right in rows.items()}


def p_of_three(values: Sequence[float]) -> float:
    """The two-sided p of Student's t with 2 degrees of freedom, in closed form."""
    t = abs(np.mean(values)) * math.sqrt(3) / np.std(values, ddof=1)
    return float(1 - t / math.sqrt(2 + t**2))


# Predictive


def test_later_layers_that_are_more_accurate_say_yes(write_run: WriteRun) -> None:
    gains = (0.10, 0.12, 0.14)
    runs = [
        write_run(seed=seed, test={"accuracy": [0.5, 0.6, 0.5 + 2 * gain]})
        for seed, gain in enumerate(gains)
    ]
    found = answer(runs, "predictive")
    (item,) = found.evidence
    expected = [0.2, 0.24, 0.28]  # the line through three points rises by the last less the first
    assert (item.phase, item.n) == ("test", 200)
    assert item.places == ("layer_0", "layer_1", "layer_2")
    assert item.changes == pytest.approx(expected)
    assert item.test.effect == pytest.approx(0.24)
    assert item.test.standardized == pytest.approx(0.24 / 0.04)
    half = 4.302652729749464 * 0.04 / math.sqrt(3)  # the quantile is √(2·0.95²/(1 − 0.95²))
    assert (item.test.low, item.test.high) == pytest.approx((0.24 - half, 0.24 + half))
    assert item.test.p == item.p == pytest.approx(p_of_three(expected))
    assert item.tau == 1
    assert item.page_p == pytest.approx(1 / 6**3)  # the only one of 6³ orders with so large an L
    assert (found.verdict, found.seeds, found.is_descriptive) == ("yes", 3, False)
    assert found.short_verdict == "yes (3 seeds, p ≤ 0.0092)"
    assert found.title == "Are later layers more predictive?"


def test_a_change_is_that_of_the_fitted_line(write_run: WriteRun) -> None:
    run = write_run(test={"accuracy": [0.5, 0.9, 0.9, 0.9]})
    (item,) = answer([run], "predictive").evidence
    assert item.changes == pytest.approx([0.36])  # slope (−1.5·.5 + (−.5 + .5 + 1.5)·.9) / 5


def test_layers_that_lose_accuracy_say_no(write_run: WriteRun) -> None:
    runs = [write_run(seed=seed, test={"accuracy": [0.9, 0.8 + 0.001 * seed]}) for seed in range(3)]
    found = answer(runs, "predictive")
    assert found.verdict == "no"
    assert found.evidence[0].p == found.evidence[0].test.p


def test_layers_shown_to_be_alike_say_no_with_the_p_of_equivalence(write_run: WriteRun) -> None:
    gains = (0.001, 0.002, 0.003)
    runs = [
        write_run(seed=seed, test={"accuracy": [0.9, 0.9 + gain]})
        for seed, gain in enumerate(gains)
    ]
    found = answer(runs, "predictive")
    (item,) = found.evidence
    t = (0.01 - 0.002) * math.sqrt(3) / 0.001
    assert item.p == pytest.approx((1 - t / math.sqrt(2 + t**2)) / 2)
    assert (found.verdict, item.test.p > 0.05) == ("no", True)
    assert found.short_verdict == "no (3 seeds, p ≤ 0.0026)"


def test_seeds_that_scatter_are_inconclusive(write_run: WriteRun) -> None:
    gains = (0.1, -0.05, 0.02)
    runs = [
        write_run(seed=seed, test={"accuracy": [0.7, 0.7 + gain]})
        for seed, gain in enumerate(gains)
    ]
    found = answer(runs, "predictive")
    assert found.verdict == "inconclusive"
    assert (
        found.short_verdict
        == f"inconclusive (3 seeds, p ≤ {math.ceil(100 * p_of_three(gains)) / 100})"
    )


def test_evidence_that_disagrees_is_inconclusive_and_it_says_so(write_run: WriteRun) -> None:
    runs = [
        write_run(
            seed=seed,
            test={
                "accuracy": [0.5, 0.6 + 0.001 * seed],
                "probe_accuracy": [0.7, 0.6 + 0.001 * seed],
                "margin": [0.9, 0.1],
            },
        )
        for seed in range(3)
    ]
    found = answer(runs, "predictive")
    assert [(w.info.label, w.verdict) for w in found.evidence] == [
        ("accuracy", "yes"),
        ("probe_accuracy", "no"),  # and the margin, which has no evidence, says nothing
    ]
    assert found.verdict == "inconclusive"
    assert found.short_verdict == "inconclusive (3 seeds, the metrics disagree)"


def test_without_a_test_of_every_run_validation_speaks_and_it_says_so(write_run: WriteRun) -> None:
    val = {"accuracy": [0.5, 0.75]}
    runs = [
        write_run(
            val, seed=0, test={"accuracy": [0.1, 0.2]}, untrained={"accuracy": [0.25, 0.125]}
        ),
        write_run(val, seed=1, untrained={"accuracy": [0.25, 0.25]}),
    ]
    found = answer(runs, "predictive")
    (item,) = found.evidence
    assert (item.phase, item.n) == ("val", 100)
    assert item.values.tolist() == [[0.5, 0.75]] * 2  # of the best epoch, not of the last
    assert item.untrained_changes == pytest.approx([-0.125, 0])
    assert found.notes == ("accuracy is of validation, which chose the epoch as well",)


def test_a_test_of_unknown_epoch_counts(write_run: WriteRun) -> None:
    run = write_run({"accuracy": [0.3, 0.4]}, test={"accuracy": [0.5, 0.75]}, test_epoch=None)
    (item,) = answer([run], "predictive").evidence
    assert item.values.tolist() == [[0.5, 0.75]]


def test_the_input_is_a_reference_and_no_layer(write_run: WriteRun) -> None:
    val = {"participation_ratio": [8.0, 4.0]}
    run = write_run(val, reference={"participation_ratio": 16.0})
    (item,) = answer([run], "compressing").evidence
    assert item.places == ("layer_0", "layer_1")
    assert item.reference is not None
    assert item.reference.tolist() == [16]


# One seed, and the same seed twice


def test_one_seed_describes_its_run_and_says_so(write_run: WriteRun) -> None:
    run = write_run(test={"accuracy": [0.5, 0.75]})
    found = answer([run], "predictive")
    assert (found.verdict, found.seeds, found.is_descriptive) == ("yes", 1, True)
    assert found.short_verdict == "yes, in this run (one seed, no test)"
    test = found.evidence[0].test
    assert test.effect == 0.25
    assert all(math.isnan(x) for x in (test.p, test.low, test.high, test.standardized))
    assert math.isnan(found.evidence[0].page_p)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ((0.5, 0.75), "yes"),
        ((0.90, 0.92), "inconclusive"),  # 2 samples more: a resample can have none of them
        ((0.90, 0.90), "no"),  # the same samples: no resample has a difference
        ((0.92, 0.915), "no"),
    ],
)
def test_of_one_seed_the_noise_of_the_samples_counts(
    write_run: WriteRun, accuracies: tuple[float, float], verdict: str
) -> None:
    run = write_run(test={"accuracy": accuracies}, predictions=predictions(*accuracies))
    found = answer([run], "predictive")
    assert found.verdict == verdict
    assert any("too few" in note for note in found.notes) == (verdict == "inconclusive")


def test_one_seed_whose_errors_differ_cannot_say_no(write_run: WriteRun) -> None:
    """Both layers get 90 of 100 right, but other ones: a rise of .01 is well within the noise."""
    file = predictions(0.9, 0.9)
    file["layer_1"] = file["layer_1"][::-1].copy()
    found = answer([write_run(test={"accuracy": [0.9, 0.9]}, predictions=file)], "predictive")
    assert [w.verdict for w in found.evidence] == ["no"]
    assert found.verdict == "inconclusive"
    assert found.slope_interval is not None
    # The spread of 20 samples that differ: √20 / 100.
    assert found.slope_interval == pytest.approx((-1.96 * 0.0447, 1.96 * 0.0447), abs=0.012)


def test_what_the_samples_leave_open_is_the_rise_over_the_whole_depth(write_run: WriteRun) -> None:
    """The upper half of 20 layers errs on other samples: a rise of .02 or so, .001 per layer."""
    file = predictions(*[0.9] * 20, n=400)
    file |= {f"layer_{i}": file[f"layer_{i}"][::-1].copy() for i in range(10, 20)}
    found = answer([write_run(test={"accuracy": [0.9] * 20}, predictions=file)], "predictive")
    assert found.slope_interval is not None
    assert found.slope_interval[1] < MARGINS["rises"]
    assert found.verdict == "inconclusive"


def test_several_seeds_are_not_overruled_by_the_samples(write_run: WriteRun) -> None:
    runs = [
        write_run(
            seed=seed,
            test={"accuracy": [0.9, 0.92 + 0.001 * seed]},
            predictions=predictions(0.9, 0.92),
        )
        for seed in range(4)
    ]
    assert answer(runs, "predictive").verdict == "yes"


def test_a_seed_counts_once(write_run: WriteRun) -> None:
    gains = [(7, 0.1), (8, 0.2), (7, 0.3)]
    runs = [write_run(seed=seed, test={"accuracy": [0.5, 0.5 + gain]}) for seed, gain in gains]
    found = answer(runs, "predictive")
    assert found.seeds == 2
    assert found.evidence[0].changes == pytest.approx([0.1, 0.2])
    assert found.notes == ("run_2 is left out: it has the seed of run_0",)


def test_runs_without_a_seed_count_by_their_folders(write_run: WriteRun) -> None:
    runs = [write_run(seed=None, test={"accuracy": [0.5, 0.6]}) for _ in range(2)]
    assert answer(runs, "predictive").seeds == 2
    assert answer([runs[0], runs[0]], "predictive").is_descriptive


def test_two_seeds_that_agree_to_the_last_sample_prove_nothing(write_run: WriteRun) -> None:
    runs = [write_run(seed=seed, test={"accuracy": [0.90, 0.95]}) for seed in range(2)]
    found = answer(runs, "predictive")
    assert found.verdict == "inconclusive"
    assert found.evidence[0].test.p == 0.5


# Compressing


def test_values_that_halve_say_yes_in_logarithms(write_run: WriteRun) -> None:
    runs = [
        write_run(
            {"participation_ratio": [16.0, 8.0, 4.0 * factor]},
            seed=seed,
            untrained={"participation_ratio": [8.0, 8.0, 16.0]},
        )
        for seed, factor in enumerate((0.9, 1.0, 1.1))
    ]
    found = answer(runs, "compressing")
    (item,) = found.evidence
    assert item.changes == pytest.approx([math.log(4 / f) for f in (0.9, 1.0, 1.1)])
    assert item.untrained_changes == pytest.approx([-math.log(2)] * 3)
    assert item.page_p == pytest.approx(1 / 6**3)
    assert item.tau == -1
    assert found.verdict == "yes"
    assert (found.steps, found.slope_interval, found.tau_interval) == ((), None, None)


@pytest.mark.parametrize(("last", "verdict"), [(9.4, "yes"), (9.6, "no"), (20.0, "no")])
def test_a_fall_of_five_percent_counts(write_run: WriteRun, last: float, verdict: str) -> None:
    run = write_run({"participation_ratio": [10.0, last]})
    assert answer([run], "compressing").verdict == verdict


def test_all_evidence_of_compression_must_agree(write_run: WriteRun) -> None:
    run = write_run({"participation_ratio": [8.0, 4.0], "mutual_information": [1.0, 1.1]})
    found = answer([run], "compressing")
    assert [w.verdict for w in found.evidence] == ["yes", "no"]
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_has_no_logarithm_is_excluded(write_run: WriteRun, value: float) -> None:
    values = {"mutual_information": [1.0, value], "participation_ratio": [8.0, 4.0]}
    found = answer([write_run(values, untrained=values)], "compressing")
    assert [w.info.label for w in found.evidence] == ["participation_ratio"]
    assert found.notes == ("mutual_information is excluded: a value is not above 0",)


def test_an_untrained_value_that_has_no_logarithm_is_no_reference(write_run: WriteRun) -> None:
    run = write_run(
        {"mutual_information": [2.0, 1.0]}, untrained={"mutual_information": [1.0, 0.0]}
    )
    (item,) = answer([run], "compressing").evidence
    assert item.untrained is None
    assert item.untrained_changes is None


def test_a_saturated_estimate_is_excluded(write_run: WriteRun) -> None:
    runs = [
        write_run(
            {
                "mutual_information": [4.6, 2.0],
                "mutual_information_saturated": [flag, 0.0],
                "participation_ratio": [8.0, 4.0],
            },
            seed=seed,
        )
        for seed, flag in enumerate((0.0, 1.0))
    ]
    found = answer(runs, "compressing")
    assert [w.info.label for w in found.evidence] == ["participation_ratio"]
    assert "at the ceiling of its estimator" in found.notes[0]
    assert len(answer(runs[:1], "compressing").evidence) == 2


# Different


def test_similarities_are_compared_with_the_untrained_network(write_run: WriteRun) -> None:
    runs = [
        write_run(
            {"linear_cka": [None, 0.5, 0.7 + shift], "ridge_r2": [0.4, 0.6 + shift, None]},
            seed=seed,
            untrained={"linear_cka": [None, 0.9, 0.7], "ridge_r2": [0.8, 0.8, None]},
        )
        for seed, shift in enumerate((0.0, 0.02, 0.04))
    ]
    found = answer(runs, "different")
    cka, r2 = found.evidence
    assert cka.places == ("layer_1", "layer_2")  # each with the layer before
    assert r2.places == ("layer_0", "layer_1")  # each with the layer after
    assert cka.changes == pytest.approx([0.2, 0.19, 0.18])  # .4, .39, .38 less .2
    assert r2.changes == pytest.approx([0.3, 0.29, 0.28])  # .5, .49, .48 less .2
    assert cka.untrained_changes == pytest.approx([0.2] * 3)
    assert math.isnan(cka.tau)
    assert math.isnan(cka.page_p)
    assert (found.verdict, found.notes) == ("yes", ())


def test_layers_as_similar_as_untrained_ones_say_no(write_run: WriteRun) -> None:
    runs = [
        write_run(
            {"linear_cka": [None, 0.6 + shift]}, seed=seed, untrained={"linear_cka": [None, 0.6]}
        )
        for seed, shift in enumerate((-0.005, 0.0, 0.005))
    ]
    found = answer(runs, "different")
    assert found.verdict == "no"
    assert found.evidence[0].p == found.evidence[0].test.p_equivalence < 0.01


def test_layers_more_similar_than_untrained_ones_say_no(write_run: WriteRun) -> None:
    runs = [
        write_run(
            {"linear_cka": [None, 0.9 + shift]}, seed=seed, untrained={"linear_cka": [None, 0.6]}
        )
        for seed, shift in enumerate((-0.005, 0.0, 0.005))
    ]
    (item,) = answer(runs, "different").evidence
    assert item.test.p_equivalence > 0.5
    assert (item.verdict, item.p) == ("no", item.test.p)


@pytest.mark.parametrize(("similarity", "verdict"), [(0.5, "inconclusive"), (0.999, "no")])
def test_without_an_untrained_network_there_is_no_yes(
    write_run: WriteRun, similarity: float, verdict: str
) -> None:
    shifts = (0.0, 0.0002, 0.0004)
    runs = [
        write_run({"linear_cka": [None, similarity + shift]}, seed=seed)
        for seed, shift in enumerate(shifts)
    ]
    for replicates in (runs, runs[:1]):
        found = answer(replicates, "different")
        assert found.verdict == verdict
        assert found.notes == ("linear_cka cannot say yes: the untrained network was not measured",)


def test_the_head_is_no_layer_and_no_neighbour(write_run: WriteRun) -> None:
    run = write_run(
        {
            "linear_cka": [None, 0.5, 0.1],
            "ridge_r2": [0.5, 1.0, None],  # the logits are a linear map of the last layer
            "participation_ratio": [8.0, 4.0, 100.0],
        },
        untrained={"linear_cka": [None, 0.9, 0.9], "ridge_r2": [0.9, 0.9, None]},
        test={"accuracy": [0.5, 0.75, 0.1]},
        layers=("layer_0", "layer_1", "head"),
        predictions=predictions(0.5, 0.75) | {"head": np.zeros(100, np.int64)},
    )
    cka, r2 = answer([run], "different").evidence
    assert (cka.places, cka.changes.tolist()) == (("layer_1",), pytest.approx([0.4]))
    assert (r2.places, r2.changes.tolist()) == (("layer_0",), pytest.approx([0.4]))
    (pr,) = answer([run], "compressing").evidence
    assert pr.changes == pytest.approx([math.log(2)])
    predictive = answer([run], "predictive")
    assert predictive.evidence[0].changes == pytest.approx([0.25])
    assert [(step.first, step.second) for step in predictive.steps] == [("layer_0", "layer_1")]


def test_a_head_of_any_run_is_no_neighbour(write_run: WriteRun) -> None:
    deep = write_run({"ridge_r2": [0.5, 0.5, 0.5, None]}, seed=0)
    head = ("layer_0", "layer_1", "head")
    mlp = write_run({"ridge_r2": [0.5, 1.0, None]}, seed=1, layers=head)
    (item,) = answer([deep, mlp], "different").evidence
    assert item.places == ("layer_0",)


# Layers


def test_two_layers_are_enough(write_run: WriteRun) -> None:
    runs = [
        write_run(seed=seed, test={"accuracy": [0.5, 0.75 + shift]})
        for seed, shift in enumerate((0.0, 0.01, 0.02))
    ]
    found = answer(runs, "predictive")
    assert found.verdict == "yes"
    assert found.evidence[0].tau == 1
    assert math.isnan(found.evidence[0].page_p)


@pytest.mark.parametrize("question", QUESTIONS)
def test_one_layer_tells_nothing(write_run: WriteRun, question: Any) -> None:
    run = write_run(
        {"participation_ratio": [8.0], "linear_cka": [None]},
        test={"accuracy": [0.9]},
        predictions=predictions(0.9),
    )
    found = answer([run], question)
    assert (found.verdict, found.evidence, found.steps) == ("inconclusive", (), ())
    assert found.notes[-1] == "no metric that counts as evidence was measured at two layers or more"
    assert "two layers or more in every run" in found.notes[0]


def test_twenty_layers_stand_in_order_of_depth(write_run: WriteRun) -> None:
    accuracies = [0.5 + 0.02 * i for i in range(20)]
    run = write_run(test={"accuracy": accuracies}, predictions=predictions(*accuracies))
    found = answer([run], "predictive")
    (item,) = found.evidence
    assert item.places == tuple(f"layer_{i}" for i in range(20))
    assert item.changes == pytest.approx([0.38])
    assert found.slope_interval is not None
    assert found.slope_interval[0] < 0.02 < found.slope_interval[1]
    assert found.tau_interval is not None
    assert found.tau_interval[1] == 1
    assert len(found.steps) == 19
    assert found.verdict == "yes"


def test_the_margin_is_over_the_whole_depth(write_run: WriteRun) -> None:
    for depth in (2, 20):
        for change, verdict in ((0.011, "yes"), (0.009, "no")):
            values = np.linspace(0.5, 0.5 + change, depth).tolist()
            assert answer([write_run(test={"accuracy": values})], "predictive").verdict == verdict


def test_a_layer_without_a_value_in_one_run_is_left_out_of_all(write_run: WriteRun) -> None:
    runs = [
        write_run({"participation_ratio": [16.0, 9.0, 4.0]}, seed=0),
        write_run({"participation_ratio": [16.0, None, 2.0]}, seed=1),
    ]
    found = answer(runs, "compressing")
    (item,) = found.evidence
    assert item.places == ("layer_0", "layer_2")
    assert item.changes == pytest.approx([math.log(4), math.log(8)])
    assert found.notes == ("participation_ratio: layer_1 is left out, where a value is missing",)


def test_a_metric_that_a_run_lacks_is_excluded(write_run: WriteRun) -> None:
    both = {"participation_ratio": [8.0, 4.0], "mutual_information": [2.0, 1.0]}
    runs = [write_run(both, seed=0), write_run({"participation_ratio": [8.0, 4.0]}, seed=1)]
    found = answer(runs, "compressing")
    assert [w.info.label for w in found.evidence] == ["participation_ratio"]
    assert found.notes == (
        "mutual_information is excluded: it was not measured at two layers or more in every run",
    )


def test_runs_of_different_depth_are_compared_where_they_can_be(write_run: WriteRun) -> None:
    runs = [
        write_run(seed=0, test={"accuracy": [0.5, 0.6, 0.9, 0.9]}),
        write_run(seed=1, test={"accuracy": [0.5, 0.7]}),
    ]
    for order in (runs, runs[::-1]):
        found = answer(order, "predictive")
        (item,) = found.evidence
        assert item.places == ("layer_0", "layer_1")
        assert sorted(item.changes) == pytest.approx([0.1, 0.2])
        assert "different layers" in found.notes[0]


# Metrics


def test_a_metric_of_ones_own_takes_part_by_its_evidence(write_run: WriteRun) -> None:
    own = MetricInfo("rank", "effective_rank", question="compressing", evidence="falls")
    shown = MetricInfo("norm", "norm", question="compressing")
    values = {"participation_ratio": [8.0, 4.0], "rank": [4.0, 8.0], "norm": [1.0, 1.0]}
    found = answer([write_run(values, facts=(PR, own, shown))], "compressing")
    assert {w.info.label: w.verdict for w in found.evidence} == {
        "participation_ratio": "yes",
        "rank": "no",
    }
    assert found.verdict == "inconclusive"


def test_a_metric_under_two_labels_counts_once(write_run: WriteRun) -> None:
    other = attrs.evolve(MI, label="mi_64", options={"snr": 64})
    values = {"mi_64": [1.0, 9.0], "mutual_information": [2.0, 1.0]}
    found = answer([write_run(values, facts=(other, MI))], "compressing")
    assert [w.info.label for w in found.evidence] == ["mutual_information"]
    alone = answer([write_run(values, facts=(other,))], "compressing")
    assert [w.info.label for w in alone.evidence] == ["mi_64"]


def test_different_options_under_one_label_are_not_pooled(write_run: WriteRun) -> None:
    other = attrs.evolve(MI, options={"snr": 64})
    values = {"mutual_information": [2.0, 1.0]}
    runs = [
        write_run(values, seed=seed, facts=(facts,)) for seed, facts in enumerate((MI, other, MI))
    ]
    found = answer(runs, "compressing")
    assert found.evidence == ()
    assert "different options" in found.notes[0]
    assert len(answer(runs[::2], "compressing").evidence) == 1


def test_a_run_of_older_scripts_takes_the_facts_of_the_installed_metrics(
    write_run: WriteRun,
) -> None:
    values = {"participation_ratio": [8.0, 4.0], "ridge_r2": [0.5, None], "unheard_of": [1.0, 2.0]}
    run = with_installed_metric_info(write_run(values, facts=None))
    assert set(run.metric_info) == {"participation_ratio", "ridge_r2"}
    assert answer([run], "compressing").verdict == "yes"
    (item,) = answer([run], "different").evidence
    assert item.info.neighbour == "next"


def test_the_metric_of_the_documents_counts_as_evidence() -> None:
    text = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(# effective_rank.py.*?)```", text, re.S)
    assert code is not None
    names: dict[str, Any] = {"__name__": "effective_rank"}
    exec(code[1], names)
    check_metric(names["effective_rank"])
    facts = definition_of(names["effective_rank"])().info()
    assert (facts.question, facts.evidence) == ("compressing", "falls")


def test_the_margins_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "questions.md").read_text(encoding="utf-8")
    cells = [row.rstrip("| ").rsplit("| ", 1)[1] for row in text.splitlines() if row[:5] == "| Are"]
    stated = [float(re.findall(r"[\d.]+", cell)[-1]) for cell in cells]
    assert stated == [pytest.approx(MARGINS[e], abs=5e-4) for e in ("rises", "falls", "similarity")]
    assert all(title in text for title in QUESTIONS.values())


# Predictions


def test_steps_count_the_samples_that_change(write_run: WriteRun) -> None:
    """Of 20 samples: the second layer wins 6 and loses none, the third wins 1 and loses 2."""
    first, second = np.arange(20) < 10, np.arange(20) < 16
    third = second.copy()
    third[[0, 1, 19]] = [False, False, True]
    file = {"sample_ids": np.arange(20), "labels": np.full(20, 3)}
    for name, hits in zip(("layer_0", "layer_1", "layer_2"), (first, second, third), strict=True):
        file[name] = np.where(hits, 3, 7)
    run = write_run(
        {"linear_cka": [None, 0.5, 0.5]}, test={"accuracy": [0.5, 0.8, 0.75]}, predictions=file
    )
    for question in ("predictive", "different"):
        one, two = answer([run], question).steps
        assert (one.first, one.second, one.seed) == ("layer_0", "layer_1", 0)
        assert (one.lost, one.won, two.lost, two.won) == (0, 6, 2, 1)
        assert (one.p, two.p) == (2 * 2 / 2**6, 1)  # the smaller of two counts twice
        # Errors on 10 and 4 of 20, 4 in common: (.7 − (.5·.2 + .5·.8)) / .5.
        assert one.kappa == pytest.approx(0.4)
        # Errors on 4 and 5 of 20, 3 in common: 17 agree.
        chance = 0.2 * 0.25 + 0.8 * 0.75
        assert two.kappa == pytest.approx((17 / 20 - chance) / (1 - chance))


def test_steps_of_all_seeds_are_adjusted_together(write_run: WriteRun) -> None:
    runs = [
        write_run(seed=seed, test={"accuracy": [0.5, 0.6]}, predictions=predictions(0.5, 0.6))
        for seed in range(3)
    ]
    steps = answer(runs, "predictive").steps
    assert [step.seed for step in steps] == [0, 1, 2]
    assert [step.p for step in steps] == [3 * 2 / 2**10] * 3


def test_predictions_are_paired_by_sample(write_run: WriteRun) -> None:
    """Runs tested on 0…99 and, in another order, on 50…149 share 50…99."""
    first, second = predictions(0.6, 0.8), predictions(0.1, 0.3, first_id=50)
    order = np.random.default_rng(0).permutation(100)
    shuffled = {name: values[order] for name, values in second.items()}
    runs = [
        write_run(seed=0, test={"accuracy": [0.6, 0.8]}, predictions=first),
        write_run(seed=1, test={"accuracy": [0.1, 0.3]}, predictions=shuffled),
    ]
    found = answer(runs, "predictive")
    # Of 50…99 the first run gets 10, then 30 right, and so does the second.
    assert [(step.lost, step.won) for step in found.steps] == [(0, 20), (0, 20)]
    assert found.slope_interval == pytest.approx((0.4 - 0.136, 0.4 + 0.136), abs=0.03)
    assert "predictions are compared on the 50 test samples of all runs" in found.notes


def test_runs_tested_on_other_samples_have_no_steps(write_run: WriteRun) -> None:
    runs = [
        write_run(
            seed=seed,
            test={"accuracy": [0.5, 0.6 + 0.001 * seed]},
            predictions=predictions(0.5, 0.6, first_id=100 * seed),
        )
        for seed in range(3)
    ]
    found = answer(runs, "predictive")
    assert (found.verdict, found.steps, found.slope_interval) == ("yes", (), None)
    assert "predictions are compared on the 0 test samples of all runs" in found.notes


def test_why_there_is_no_evidence_is_the_last_note(write_run: WriteRun) -> None:
    runs = [write_run(seed=seed, predictions=predictions(0.5, 0.6, n=9 + seed)) for seed in (0, 1)]
    found = answer(runs, "predictive")
    assert len(found.notes) == 2
    assert found.notes[-1] == "no metric that counts as evidence was measured at two layers or more"


def test_without_predictions_of_every_run_there_are_no_steps(write_run: WriteRun) -> None:
    test = {"accuracy": [0.5, 0.6]}
    runs = [
        write_run(seed=0, test=test, predictions=predictions(0.5, 0.6)),
        write_run(seed=1, test=test),
    ]
    found = answer(runs, "predictive")
    assert (found.steps, found.tau_interval) == ((), None)
    assert len(answer(runs[:1], "predictive").steps) == 1


def test_the_interval_of_tau_counts_ties_as_scipy_does(write_run: WriteRun) -> None:
    accuracies = (0.0, 1.0, 1.0)  # of every sample, so of every resample too
    run = write_run(test={"accuracy": accuracies}, predictions=predictions(*accuracies))
    found = answer([run], "predictive")
    assert found.tau_interval == pytest.approx((2 / math.sqrt(6), 2 / math.sqrt(6)))
    assert found.slope_interval == pytest.approx((0.5, 0.5))
    assert math.isnan(found.steps[1].kappa)  # the second layer makes no errors
