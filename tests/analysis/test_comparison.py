"""Comparisons of experiments: paired and Welch's tests by SciPy, simulated runs, written runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import ArrayLike
from scipy import stats

from cmp_core import Comparison, Difference, load_run
from cmp_core.analysis.comparison import compare
from cmp_core.cli import cli
from cmp_core.errors import DataError, UsageError
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet

WriteRun = Callable[..., RunRecord]
PROBE = MetricInfo("probe_accuracy", "probe_accuracy", unit="fraction", comparable=True)
MARGIN = MetricInfo("margin", "margin")


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """A function that writes the run directory of a tested network and reads it back."""
    numbers = count()

    def write_run(
        acc: float | None = None,
        *,
        seed: int | None = 0,
        model: str = "mlp",
        layers: Sequence[str] = ("layer_0", "layer_1"),
        test: dict[str, Any] | None = None,
        predictions: dict[str, ArrayLike] | bytes | None = None,
        values: Mapping[str, Sequence[float]] | None = None,
        influences: Mapping[str, ArrayLike] | None = None,
        facts: Sequence[MetricInfo] = (PROBE, MARGIN),
        halves: Sequence[float] | None = None,
        **config: Any,
    ) -> RunRecord:
        """Write it, with the values of metrics at the layers in the test, and by fits to half."""
        number = next(numbers)
        folder = tmp_path / f"run_{number}"
        folder.mkdir()
        params = {"model": model, "seed": seed} | config
        (folder / "params.yaml").write_text(json.dumps(params))
        (folder / "metrics.json").write_text(dump_metric_info(facts))
        logged = {layer: {"margin": number} for layer in layers}  # no two runs are copies
        line = {"phase": "val", "epoch": 1, "acc": 0.5, "val_loss": 1, "metrics": logged}
        (folder / "log.jsonl").write_text(json.dumps(line) + "\n")
        results: dict[str, Any] = {"acc": acc} if test is None else test
        if values is not None:
            by_layer = {
                layer: {metric: row[i] for metric, row in values.items()}
                for i, layer in enumerate(layers)
            }
            results |= {"n": 100, "metrics": by_layer}
            if halves is not None:
                half = {
                    layer: {"probe_accuracy": x} for layer, x in zip(layers, halves, strict=True)
                }
                results["fit"] = {"source": "training", "n": 50, "half": half}
        if acc is not None or test is not None or values is not None:
            (folder / "test_results.json").write_text(json.dumps(results))
        if influences is not None:
            n = len(np.asarray(next(iter(influences.values()))))
            arrays = {name: np.asarray(x, np.float64) for name, x in influences.items()}
            np.savez(folder / "test_influences.npz", sample_ids=np.arange(n), **arrays)
        if isinstance(predictions, bytes):
            (folder / "test_predictions.npz").write_bytes(predictions)
        elif predictions is not None:
            np.savez(folder / "test_predictions.npz", **predictions)
        return load_run(folder)

    return write_run


def hits(right: ArrayLike, *, first_id: int = 0, output: str = "layer_1") -> dict[str, ArrayLike]:
    """Predictions of samples of class 1, right or wrong; those of the other layer are all wrong."""
    rights = np.asarray(right, dtype=np.int64)
    return {
        "sample_ids": np.arange(first_id, first_id + len(rights)),
        "labels": np.ones_like(rights),
        "layer_0": np.zeros_like(rights),
        output: rights,
    }


Runs = Sequence[RunRecord]


def compared(first: Runs, second: Runs) -> Comparison:
    """The comparison of two groups of runs."""
    labels = ("a",) * len(first) + ("b",) * len(second)
    (found,) = compare(RunSet((*first, *second), labels))
    assert (found.first, found.second) == ("a", "b")
    return found


def output(first: Runs, second: Runs) -> Difference:
    """By how much the second's test accuracy is above the first's."""
    found = compared(first, second).output
    assert found is not None
    return found


# Over seeds alone, where the samples are not known


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((0.90, 0.92, 0.91), (0.95, 0.97, 0.93)),
        ((0.90, 0.92), (0.80, 0.85, 0.90, 0.70)),
        ((0.5, 0.6), (0.6, 0.5)),
        ((0.90, 0.90), (0.95, 0.96)),  # one side does not vary
    ],
)
@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # of SciPy, where a side ties
def test_other_seeds_are_compared_by_welchs_test(
    write: WriteRun, a: Sequence[float], b: Sequence[float]
) -> None:
    sides = [
        [write(acc, seed=10 * side + i) for i, acc in enumerate(accuracies)]
        for side, accuracies in enumerate((a, b))
    ]
    told = output(*sides)
    expected = stats.ttest_ind(b, a, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert told.estimate.effect == pytest.approx(np.mean(b) - np.mean(a))
    assert told.estimate.freedom == pytest.approx(expected.df)
    assert told.estimate.p(0.0) == pytest.approx(expected.pvalue)
    assert told.estimate.interval == pytest.approx((interval.low, interval.high))
    assert compared(*sides).design == f"{len(a)} and {len(b)} seeds, not paired"


def test_the_same_seeds_are_paired_whatever_their_order(write: WriteRun) -> None:
    a, b = (0.90, 0.92, 0.91), (0.95, 0.96, 0.97)
    first = [write(acc, seed=i) for i, acc in enumerate(a)]
    second = [write(acc, seed=i) for i, acc in reversed(list(enumerate(b)))]
    told, expected = output(first, second), stats.ttest_rel(b, a)
    assert told.estimate.p(0.0) == pytest.approx(expected.pvalue)
    assert told.estimate.freedom == 2
    assert compared(first, second).design == "paired by 3 seeds"


def test_of_seeds_in_common_the_others_are_left_out_and_named(write: WriteRun) -> None:
    first = [write(0.5 + 0.1 * i, seed=i) for i in range(3)]
    second = [write(0.6 + 0.15 * i, seed=i) for i in (1, 2, 3)]
    found = compared(first, second)
    assert found.design == "paired by 2 seeds"
    assert found.output is not None
    assert found.output.estimate.effect == pytest.approx(np.mean([0.15, 0.2]))
    for run, label in ((first[0], "b"), (second[2], "a")):
        assert f"{run.name} is left out: {label} has no run of its seed" in found.notes


def test_the_other_way_round_it_is_the_negative(write: WriteRun) -> None:
    for shift in (0, 5):  # paired, and not
        a = [write(0.5, seed=0), write(0.6, seed=1)]
        b = [write(0.9, seed=shift), write(0.7, seed=shift + 1)]
        there, back = output(a, b), output(b, a)
        assert there.estimate.effect == pytest.approx(0.25)
        assert back.estimate.interval == pytest.approx(
            tuple(-end for end in reversed(there.estimate.interval))
        )
        assert back.p == pytest.approx(there.p)


@pytest.mark.parametrize("shift", [0, 5])
def test_seeds_that_all_tie_tell_no_error(write: WriteRun, shift: int) -> None:
    a = [write(0.9, seed=seed) for seed in range(3)]
    b = [write(0.4, seed=seed + shift) for seed in range(3)]
    told = output(a, b)
    assert told.estimate.effect == pytest.approx(-0.5)
    assert (math.isnan(told.p), math.isnan(told.estimate.error)) == (True, True)


def test_one_seed_against_several_others_has_no_interval(write: WriteRun) -> None:
    one, others = [write(0.5, seed=9)], [write(0.8 + 0.01 * seed, seed=seed) for seed in range(3)]
    for pair in ((one, others), (others, one)):
        found = compared(*pair)
        assert found.output is not None
        assert abs(found.output.estimate.effect) == pytest.approx(0.31)
        assert math.isnan(found.output.p)
        assert found.design.endswith("seeds, none in common: no intervals")


def test_a_seed_counts_once_and_untested_runs_do_not(write: WriteRun) -> None:
    one = [write(0.5), write(0.6, seed=1)]
    found = compared(one, [write(0.7), write(0.9), write(None, seed=1), write(0.8, seed=1)])
    assert found.output is not None
    assert found.output.estimate.effect == pytest.approx(0.2)
    told = [note.partition(": ")[2].partition(" of run")[0] for note in found.notes[:2]]
    assert told == ["it was not tested", "it has the seed"]


def test_runs_without_a_seed_are_each_their_own(write: WriteRun) -> None:
    sides = [[write(acc, seed=None) for acc in side] for side in ((0.5, 0.6), (0.8, 0.9))]
    assert compared(*sides).design == "2 and 2 seeds, not paired"


# Which accuracy


def test_the_accuracy_is_that_of_the_output(write: WriteRun) -> None:
    tests = (
        {"acc": 0.9, "acc_layers": {"layer_0": 0.1, "layer_1": 0.9}},
        {"acc_layers": {"layer_1": 0.9, "layer_0": 0.1}},
        {"acc": 0.9, "acc_layers": {"layer_0": 0.1, "layer_1": None}},
        {"acc": 0.9, "acc_layers": [0.1, 0.9]},
        {"acc": 0.9},
    )
    for test in tests:
        assert output([write(0.5)], [write(test=test)]).estimate.effect == pytest.approx(0.4)


@pytest.mark.parametrize("test", [None, {}, {"acc": None}, {"acc": "high", "acc_layers": {}}])
def test_what_was_not_tested_is_not_compared(write: WriteRun, test: dict[str, Any] | None) -> None:
    untested, tested = [write(test=test)], [write(0.5)]
    assert compared(untested, tested).output is None
    assert compared(tested, untested).output is None


# Sample by sample


def test_two_networks_are_compared_by_a_paired_test_over_samples(write: WriteRun) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.8
    order = rng.permutation(200)
    shuffled = {name: np.asarray(x)[order] for name, x in hits(b).items()}
    first = [write(float(a.mean()), predictions=hits(a), seed=3)]
    second = [write(float(b.mean()), predictions=shuffled, seed=4)]
    told, expected = output(first, second), stats.ttest_rel(b.astype(float), a.astype(float))
    assert told.estimate.p(0.0) == pytest.approx(expected.pvalue)
    assert told.estimate.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert compared(first, second).design == (
        "two networks, which says nothing about other seeds; paired by 200 test samples"
    )


def test_equal_predictions_have_p_one(write: WriteRun) -> None:
    right = np.arange(2000) % 3 > 0
    told = output(*([write(0.6, predictions=hits(right))] for _ in range(2)))
    assert (told.estimate.effect, told.p) == (0, 1)


def test_outputs_may_have_other_names(write: WriteRun) -> None:
    """A deeper network with a head against a shallow one."""
    deep = ("layer_0", "layer_1", "layer_2", "head")
    right = np.arange(9) < 5
    first = write(0.0, predictions=hits(np.zeros(9)))
    second = write(5 / 9, layers=deep, predictions=hits(right, output="head"))
    expected = stats.ttest_1samp(right.astype(float), 0)
    assert output([first], [second]).estimate.p(0.0) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("missing", ["sample_ids", "labels", "layer_1"])
def test_without_what_it_takes_there_is_no_interval(write: WriteRun, missing: str) -> None:
    whole = hits([1, 0, 1])
    part = {name: values for name, values in whole.items() if name != missing}
    told = output([write(0.5, predictions=whole)], [write(0.6, predictions=part)])
    assert math.isnan(told.p)


def test_networks_tested_on_other_samples_are_not_paired(write: WriteRun) -> None:
    runs = [[write(0.5, predictions=hits([1, 0], first_id=i))] for i in (0, 2)]
    assert math.isnan(output(*runs).p)


def test_runs_without_logged_layers_are_not_paired(write: WriteRun) -> None:
    runs = [[write(0.5, layers=(), predictions=hits([1, 0]))] for _ in range(2)]
    assert math.isnan(output(*runs).p)


def test_damaged_predictions_are_named(write: WriteRun) -> None:
    whole, damaged = write(0.5, predictions=hits([1])), write(0.6, predictions=b"PK\x03\x04")
    with pytest.raises(DataError, match=r"test_predictions.npz' cannot be read"):
        compared([whole], [damaged])


# Layer by layer


def sides(
    write: WriteRun,
    seeds: Sequence[Sequence[int]],
    gain: float = 0.0,
    *,
    samples: int = 100,
    rng: np.random.Generator | None = None,
    spread: float = 0.02,
) -> list[list[RunRecord]]:
    """Two experiments whose seeds and samples vary, the samples alike for both."""
    rng = rng or np.random.default_rng(0)
    hard = rng.normal(0, 0.3, samples)
    found = []
    for side, own in enumerate(seeds):
        runs = []
        for seed in own:
            moved = hard + rng.normal(0, 0.2, (2, samples)) + 0.1 * side * hard
            level = 0.8 + gain * side + rng.normal(0, spread, 2) + moved.mean(axis=1)
            influences = {f"layer_{i}/probe_accuracy": moved[i] - moved[i].mean() for i in range(2)}
            values = {"probe_accuracy": level.tolist(), "margin": [0.1, 0.2]}
            runs.append(write(seed=seed, tau=1 + side, values=values, influences=influences))
        found.append(runs)
    return found


def test_layers_are_paired_by_seed_and_sample(write: WriteRun) -> None:
    """The oracle is the analysis of variance of the table of differences, cell by cell."""
    first, second = sides(write, [range(3), range(3)], gain=0.05)
    found = compared(first, second).at("probe_accuracy", "layer_1")
    assert found is not None
    table = []
    for a, b in zip(first, second, strict=True):
        moved = b.influence("layer_1", "probe_accuracy") - a.influence("layer_1", "probe_accuracy")
        difference = b.value("test", "layer_1", "probe_accuracy") - a.value(
            "test", "layer_1", "probe_accuracy"
        )
        table.append(difference + moved)
    d = np.array(table)
    s, n = d.shape
    of_seeds = n * sum((row.mean() - d.mean()) ** 2 for row in d) / (s - 1)
    of_samples = s * sum((column.mean() - d.mean()) ** 2 for column in d.T) / (n - 1)
    rest = 0.0
    for i in range(s):
        for j in range(n):
            rest += (d[i, j] - d[i].mean() - d[:, j].mean() + d.mean()) ** 2
    rest /= (s - 1) * (n - 1)
    variance = (of_seeds + max(of_samples - rest, 0)) / (s * n)
    assert found.estimate.effect == pytest.approx(d.mean())
    assert found.estimate.error == pytest.approx(math.sqrt(variance))


def test_p_is_adjusted_for_all_differences_of_all_experiments(write: WriteRun) -> None:
    first, second = sides(write, [range(3), range(3)], gain=0.05)
    third = sides(write, [range(3), range(3)], gain=0.3, rng=np.random.default_rng(1))[1]
    groups = (first, second, third)
    labels = tuple(name for name, runs in zip("abc", groups, strict=True) for _ in runs)
    found = [
        one
        for comparison in compare(RunSet(tuple(run for runs in groups for run in runs), labels))
        for one in comparison.differences
    ]
    assert len(found) == 4
    raw = [one.estimate.p(0.0) for one in found]
    for p, one in zip(raw, found, strict=True):  # the largest so far of what is left to be tested
        before = [other for other in raw if other <= p]
        wanted = max(min(1, other * sum(x >= other for x in raw)) for other in before)
        assert one.p == pytest.approx(wanted)


@pytest.mark.parametrize("seeds", [([0, 1, 2], [0, 1, 2]), ([0, 1, 2], [5, 6, 7, 8]), ([0], [0])])
def test_intervals_cover_the_difference(seeds: Sequence[Sequence[int]]) -> None:
    """In 95 % of 1,000 draws of networks and samples; of one seed for these networks alone."""
    from cmp_core.analysis.crossed import estimate, estimate_difference

    rng, covered, draws = np.random.default_rng(0), 0, 1000
    is_paired = list(seeds[0]) == list(seeds[1])
    spread = 0.0 if len(seeds[0]) == 1 else 0.02
    for _ in range(draws):
        hard = rng.normal(0, 0.3, 400)
        rows = []
        for side, own in enumerate(seeds):
            moved = hard * (1 + 0.5 * side) + rng.normal(0, 0.3, (len(own), 400))
            effects = 0.1 * side + rng.normal(0, spread, len(own)) + moved.mean(axis=1)
            rows.append((effects, moved - moved.mean(axis=1, keepdims=True)))
        (a, of_a), (b, of_b) = rows
        found = estimate(b - a, of_b - of_a) if is_paired else estimate_difference(rows[0], rows[1])
        low, high = found.interval
        covered += low <= 0.1 <= high
    assert 0.925 <= covered / draws <= 0.975


def test_metrics_on_another_scale_are_named_and_not_compared(write: WriteRun) -> None:
    first, second = sides(write, [range(2), range(2)])
    found = compared(first, second)
    assert set(found.metrics) == {"probe_accuracy"}
    assert found.layers == ("layer_0", "layer_1")
    assert "margin: not compared, on another scale in a model of another kind" in found.notes


def test_models_of_one_kind_have_every_metric_on_one_scale(write: WriteRun) -> None:
    runs = [[write(0.5, lr=lr, values={"margin": [0.1, 0.2 + lr]}, seed=0)] for lr in (0.1, 0.2)]
    found = compared(*runs).at("margin", "layer_1")
    assert found is not None
    assert found.estimate.effect == pytest.approx(0.1)


def test_what_is_not_compared_is_an_error_that_names_the_nearest(write: WriteRun) -> None:
    runs = [[write(0.5, lr=lr, values={"margin": [0.1, 0.2]}, seed=0)] for lr in (0.1, 0.2)]
    found = compared(*runs)
    assert found.output is not None
    assert found.at("accuracy", "layer_0") is None
    with pytest.raises(UsageError, match="unknown metric 'mragin'; did you mean 'margin'"):
        found.at("mragin", "layer_1")
    with pytest.raises(UsageError, match="unknown layer 'layer1'; did you mean 'layer_1'"):
        found.at("margin", "layer1")


def test_other_options_are_not_compared(write: WriteRun) -> None:
    first = [write(0.5, values={"probe_accuracy": [0.5, 0.6]})]
    other = MetricInfo("probe_accuracy", "probe_accuracy", unit="fraction", options={"penalty": 1})
    second = [write(0.5, values={"probe_accuracy": [0.5, 0.6]}, facts=(other,))]
    assert "probe_accuracy: not compared, measured with different options" in (
        compared(first, second).notes
    )


def test_a_difference_of_sample_efficiency_is_told(write: WriteRun) -> None:
    first, second = sides(write, [range(3), range(3)])
    notes = compared(first, second).notes
    assert not any("sample efficiency" in note for note in notes)
    folder = second[0].directory
    results = json.loads((folder / "test_results.json").read_text())
    for run, change in zip((*first, *second), (0, 0, 0, 0.5, 0.5, 0.5), strict=True):
        path = run.directory / "test_results.json"
        results = json.loads(path.read_text())
        values = results["metrics"]
        half = {
            layer: {"probe_accuracy": own["probe_accuracy"] - change}
            for layer, own in values.items()
        }
        path.write_text(
            json.dumps(results | {"fit": {"source": "training", "n": 50, "half": half}})
        )
    again = [[load_run(run.directory) for run in side] for side in (first, second)]
    found = compared(*again)
    assert any(note.startswith("probe_accuracy: not tested where half") for note in found.notes)
    assert all(math.isnan(one.p) and math.isnan(one.estimate.error) for one in found.by_layer)


def test_experiments_on_other_data_are_not_compared(write: WriteRun) -> None:
    right = [1, 1, 0, 0, 1]
    first = [write(0.6, predictions=hits(right), dataset="digits")]
    other = [write(0.8, predictions=hits(right), dataset="letters")]
    found = compared(first, other)
    assert (found.differences, found.design) == ((), "not compared, the datasets differ")
    labels = hits(right) | {"labels": np.array([1, 1, 1, 0, 0])}
    other = [write(0.8, predictions=labels, dataset="digits")]
    assert compared(first, other).design.endswith("the labels of the test samples differ")


def test_neighbours_must_be_the_same_to_be_compared(write: WriteRun) -> None:
    fact = MetricInfo("ridge_r2", "ridge_r2", comparable=True, neighbour="next")
    one = write(0.5, values={"ridge_r2": [0.5, 0.6]}, layers=("layer_0", "head"), facts=[fact])
    deep = ("layer_0", "layer_1", "head")
    two = write(0.5, values={"ridge_r2": [0.6, 0.7, 0.8]}, layers=deep, facts=[fact])
    found = compared([one], [two])
    assert "ridge_r2: not compared at layer_0, whose neighbours differ" in found.notes
    assert [one.layer for one in found.by_layer] == ["head"]


def test_layers_of_one_side_alone_are_not_compared(write: WriteRun) -> None:
    deep = ("layer_0", "layer_1", "layer_2")
    first = [write(0.5, values={"probe_accuracy": [0.5, 0.6]})]
    second = [write(0.5, layers=deep, values={"probe_accuracy": [0.6, 0.7, 0.8]})]
    assert compared(first, second).layers == ("layer_0", "layer_1")
    nothing = [write(0.5, layers=("conv",), values={"probe_accuracy": [0.6]})]
    assert "no layer has the same name in both" in compared(first, nothing).notes


def test_what_the_screen_says_is_what_is_found(write: WriteRun) -> None:
    first, second = sides(write, [range(3), range(3)], gain=0.2)
    paths = [str(run.directory) for run in (*first, *second)]
    result = CliRunner().invoke(cli, ["compare", *paths, "--labels", "a,a,a,b,b,b"])
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if "probe_accuracy, points" in line]
    cells = re.split(r" {2,}", row.strip())[1:]
    found = compared(first, second)
    for cell, layer in zip(cells, found.layers, strict=True):
        one = found.at("probe_accuracy", layer)
        assert one is not None
        assert float(cell.partition(" ")[0]) == pytest.approx(100 * one.estimate.effect, abs=0.5)
        assert cell.endswith("*") == (one.p < 0.05)
    assert "adjusted for all 2 differences (Holm)" in result.output


# The command


def test_layers_that_the_log_does_not_know_are_printed_last(write: WriteRun) -> None:
    runs = [
        write(test={"acc_layers": {"layer_1": 0.75, "layer_0": 0.25, "probe": 0.5}}),
        write(0.125, layers=()),
    ]
    arguments = ["compare", *(str(run.directory) for run in runs), "--labels", "a,b"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    table = result.output.partition("Are later")[0]
    rows = [line.split() for line in table.splitlines()]
    known = [row[:2] for row in rows if row and row[0] in ("layer_0", "layer_1", "probe", "output")]
    assert known == [
        ["layer_0", "0.25"],
        ["layer_1", "0.75"],
        ["probe", "0.5"],
        ["output", "0.125"],
    ]
