"""Comparisons: SciPy's Welch test, and McNemar's on samples counted by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import ArrayLike
from scipy import stats

from cmp_core import load_run
from cmp_core.analysis.comparison import Difference, difference
from cmp_core.cli import cli
from cmp_core.errors import DataError
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import ReplicateGroup

WriteRun = Callable[..., RunRecord]


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """A function that writes the run directory of a tested network and reads it back."""
    numbers = count()

    def write_run(
        acc: float | None = None,
        *,
        seed: int | None = 0,
        layers: Sequence[str] = ("layer_0", "layer_1"),
        test: dict[str, Any] | None = None,
        predictions: dict[str, ArrayLike] | bytes | None = None,
    ) -> RunRecord:
        folder = tmp_path / f"run_{next(numbers)}"
        folder.mkdir()
        (folder / "params.yaml").write_text(json.dumps({"model": "mlp", "seed": seed}))
        values = {layer: {"margin": 0.5} for layer in layers}
        line = {"phase": "val", "epoch": 1, "acc": 0.5, "val_loss": 1, "metrics": values}
        (folder / "log.jsonl").write_text(json.dumps(line) + "\n")
        if acc is not None or test is not None:
            results = {"acc": acc} if test is None else test
            (folder / "test_results.json").write_text(json.dumps(results))
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


def group(*runs: RunRecord) -> ReplicateGroup:
    """Replicates."""
    return ReplicateGroup("a group", runs)


def found(first: ReplicateGroup, second: ReplicateGroup) -> Difference:
    """The difference of groups that were tested."""
    told = difference(first, second)
    assert told is not None
    return told


# Over seeds


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
def test_seeds_are_compared_by_welchs_test(
    write: WriteRun, a: Sequence[float], b: Sequence[float]
) -> None:
    sides = [group(*(write(acc, seed=i) for i, acc in enumerate(side))) for side in (a, b)]
    told = found(*sides)
    expected = stats.ttest_ind(b, a, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert told.how == "Welch, over seeds"
    assert told.effect == pytest.approx(np.mean(b) - np.mean(a))
    assert told.p == pytest.approx(expected.pvalue)
    assert (told.low, told.high) == pytest.approx((interval.low, interval.high))
    assert told.low <= told.effect <= told.high


def test_welchs_test_in_closed_form(write: WriteRun) -> None:
    """Two seeds a side of equal spread: t has 2 degrees of freedom, so p = 1 − t / √(2 + t²)."""
    sides = [
        group(*(write(acc, seed=i) for i, acc in enumerate(side)))
        for side in ((0.1, 0.3), (0.6, 0.8))
    ]
    told = found(*sides)
    error = math.sqrt(2 * 0.02 / 2)
    t = 0.5 / error
    assert told.p == pytest.approx(1 - t / math.sqrt(2 + t**2))
    reach = 4.302652729749464 * error  # the quantile is √(2·0.95²/(1 − 0.95²))
    assert (told.effect, told.low, told.high) == pytest.approx((0.5, 0.5 - reach, 0.5 + reach))


def test_the_other_way_round_it_is_the_negative(write: WriteRun) -> None:
    a = group(write(0.5, seed=0), write(0.6, seed=1))
    b = group(write(0.9, seed=0), write(0.7, seed=1))
    there, back = found(a, b), found(b, a)
    assert there.effect == pytest.approx(0.25)
    assert (back.effect, back.low, back.high, back.p) == pytest.approx(
        (-there.effect, -there.high, -there.low, there.p)
    )


@pytest.mark.parametrize("accuracy", [0.1, 0.9, 1.0])
def test_seeds_that_all_tie_are_not_tested(write: WriteRun, accuracy: float) -> None:
    a = group(*(write(accuracy, seed=seed) for seed in range(3)))
    b = group(*(write(accuracy / 2, seed=seed) for seed in range(3)))
    told = found(a, b)
    assert told.effect == pytest.approx(-accuracy / 2)
    assert (math.isnan(told.p), math.isnan(told.low)) == (True, True)
    assert told.how == "no test: the seeds of a side are all alike"


@pytest.mark.parametrize("more", [1, 3])
def test_with_one_seed_on_a_side_there_is_no_test(write: WriteRun, more: int) -> None:
    one = group(write(0.5))
    others = group(*(write(0.8 + 0.01 * seed, seed=seed) for seed in range(more)))
    for told in (found(one, others), found(others, one)):
        assert abs(told.effect) == pytest.approx(0.3 + 0.005 * (more - 1))
        assert all(map(math.isnan, (told.low, told.high, told.p)))
        assert told.how == "no test: one seed on a side"


def test_a_seed_counts_once(write: WriteRun) -> None:
    """The first run of a seed that was tested, as for the three questions."""
    one = group(write(0.5), write(0.5, seed=1))
    twice = found(one, group(write(0.7, seed=7), write(0.9, seed=7)))
    assert (twice.effect, twice.how) == (pytest.approx(0.2), "no test: one seed on a side")
    untested = found(one, group(write(seed=7), write(0.9, seed=7)))
    assert (untested.effect, untested.how) == (pytest.approx(0.4), "no test: one seed on a side")


def test_runs_without_a_seed_are_each_their_own(write: WriteRun) -> None:
    sides = [group(*(write(acc, seed=None) for acc in side)) for side in ((0.5, 0.6), (0.8, 0.9))]
    assert found(*sides).how == "Welch, over seeds"


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
        assert found(group(write(0.5)), group(write(test=test))).effect == pytest.approx(0.4)


@pytest.mark.parametrize("test", [None, {}, {"acc": None}, {"acc": "high", "acc_layers": {}}])
def test_what_was_not_tested_is_not_compared(write: WriteRun, test: dict[str, Any] | None) -> None:
    untested, tested = group(write(test=test)), group(write(0.5))
    assert difference(untested, tested) is None
    assert difference(tested, untested) is None


# Sample by sample


def test_two_runs_are_compared_sample_by_sample(write: WriteRun) -> None:
    """Of 20 samples the second wins 6 and loses 1."""
    a, b = np.arange(20) < 10, np.arange(20) < 16
    b[0] = False
    told = found(group(write(0.5, predictions=hits(a))), group(write(0.75, predictions=hits(b))))
    assert told.effect == pytest.approx(0.25)
    assert told.p == pytest.approx(2 * (1 + 7) / 2**7)  # 0 or 1 of 7, and both sides
    assert told.how == "McNemar, 20 samples, two networks"
    assert math.isnan(told.low)


def test_samples_are_paired_by_id(write: WriteRun) -> None:
    """Of 0…29 and, in another order, 10…39 they share 10…29, of which the second wins 8."""
    a = hits(np.zeros(30))
    b = hits(np.arange(10, 40) < 18, first_id=10)
    order = np.random.default_rng(0).permutation(30)
    b = {name: np.asarray(values)[order] for name, values in b.items()}
    told = found(group(write(0.0, predictions=a)), group(write(0.2, predictions=b)))
    assert told.how == "McNemar, 20 samples, two networks"
    assert told.p == pytest.approx(2 / 2**8)


def test_equal_predictions_have_p_one(write: WriteRun) -> None:
    right = np.arange(2000) % 3 > 0
    runs = [group(write(0.6, predictions=hits(right))) for _ in range(2)]
    told = found(*runs)
    assert (told.effect, told.p) == (0, 1)
    assert told.how == "McNemar, 2,000 samples, two networks"


def test_outputs_may_have_other_names(write: WriteRun) -> None:
    """A deeper network with a head against a shallow one."""
    deep = ("layer_0", "layer_1", "layer_2", "head")
    right = np.arange(9) < 5
    first = write(0.0, predictions=hits(np.zeros(9)))
    second = write(0.5, layers=deep, predictions=hits(right, output="head"))
    assert found(group(first), group(second)).p == pytest.approx(2 / 2**5)


@pytest.mark.parametrize("missing", ["sample_ids", "labels", "layer_1"])
def test_without_what_it_takes_there_is_no_test(write: WriteRun, missing: str) -> None:
    whole = hits([1, 0, 1])
    part = {name: values for name, values in whole.items() if name != missing}
    told = found(group(write(0.5, predictions=whole)), group(write(0.6, predictions=part)))
    assert told.how == "no test: one seed on a side"


def test_runs_tested_on_other_samples_are_not_paired(write: WriteRun) -> None:
    runs = [group(write(0.5, predictions=hits([1, 0], first_id=i))) for i in (0, 2)]
    assert found(*runs).how == "no test: one seed on a side"


def test_runs_without_logged_layers_are_not_paired(write: WriteRun) -> None:
    runs = [group(write(0.5, layers=(), predictions=hits([1, 0]))) for _ in range(2)]
    assert found(*runs).how == "no test: one seed on a side"


def test_damaged_predictions_are_named(write: WriteRun) -> None:
    whole, damaged = write(0.5, predictions=hits([1])), write(0.6, predictions=b"PK\x03\x04")
    with pytest.raises(DataError, match=r"test_predictions.npz' cannot be read"):
        difference(group(whole), group(damaged))


# The command


def test_layers_that_the_log_does_not_know_are_printed_last(write: WriteRun) -> None:
    runs = [
        write(test={"acc_layers": {"layer_1": 0.75, "layer_0": 0.25, "probe": 0.5}}),
        write(0.125, layers=()),
    ]
    arguments = ["compare", *(str(run.directory) for run in runs), "--labels", "a,b"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    known = [row[:2] for row in rows if row and row[0] in ("layer_0", "layer_1", "probe", "output")]
    assert known == [
        ["layer_0", "0.2500"],
        ["layer_1", "0.7500"],
        ["probe", "0.5000"],
        ["output", "0.1250"],
    ]
