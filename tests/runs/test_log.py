"""Tests of `cmp_core.runs.log`: lines written by hand, and the values that stand in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmp_core.runs.log import RunLog, Series, read_log

ReadLines = Callable[..., RunLog]


@pytest.fixture
def read(tmp_path: Path) -> ReadLines:
    """A function that writes lines, texts as they are, and reads them as a log."""

    def read_lines(*lines: Any, test: Any = None) -> RunLog:
        log, results = tmp_path / "log.jsonl", tmp_path / "test_results.json"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        log.write_text("\n".join(texts), encoding="utf-8")
        if test is not None:
            results.write_text(test if isinstance(test, str) else json.dumps(test))
        return read_log(log, results)

    return read_lines


def train(epoch: Any, **more: Any) -> dict[str, Any]:
    """A line of a training step."""
    return {"phase": "train", "epoch": epoch, "loss": 1.0, "acc": 0.5} | more


def val(epoch: Any, **more: Any) -> dict[str, Any]:
    """A line of an end of an epoch."""
    return {"phase": "val", "epoch": epoch, "iter": 0, "acc": 0.5, "val_loss": 1.0} | more


def at(**values: Any) -> dict[str, dict[str, Any]]:
    """Values of the metrics at `layer_0`."""
    return {"layer_0": values}


def table(series: Series) -> list[tuple[int, int, float, int]]:
    """A series as rows of epoch, step, value and n."""
    columns = (series.epochs, series.steps, series.values, series.n)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def problem(log: RunLog) -> str:
    """The only problem, without the folder."""
    (told,) = log.problems
    return re.sub(r"^'.*[/\\]", "", told)


# Whole logs


def test_a_log_becomes_series(read: ReadLines) -> None:
    log = read(
        val(0, n=10, train_n=8, metrics=at(margin=0.1), train_metrics=at(margin=0.2)),
        train(1, iter=1, step=1),
        train(1, iter=2, step=2, n=4, metrics=at(margin=0.3)),
        val(1, n=10, train_n=8, metrics=at(margin=0.4), train_metrics=at(margin=0.5)),
        train(2, iter=1, step=3),
        train(2, iter=2, step=4, n=3, metrics=at(margin=0.6)),
        val(2, n=10, train_n=8, metrics=at(margin=0.7), train_metrics=at(margin=0.8)),
    )
    assert log.problems == ()
    assert {key: table(series) for key, series in log.series.items()} == {
        ("val", "layer_0", "margin"): [(0, 0, 0.1, 10), (1, 2, 0.4, 10), (2, 4, 0.7, 10)],
        ("train", "layer_0", "margin"): [(0, 0, 0.2, 8), (1, 2, 0.5, 8), (2, 4, 0.8, 8)],
        ("batch", "layer_0", "margin"): [(1, 2, 0.3, 4), (2, 4, 0.6, 3)],
    }
    assert not log.averages_batches
    series = log.series["val", "layer_0", "margin"]
    assert (series.epochs.dtype, series.steps.dtype, series.n.dtype) == (np.int64,) * 3
    assert series.values.dtype == np.float64


def test_curves_hold_loss_and_accuracy_of_the_output(read: ReadLines) -> None:
    log = read(
        val(0, acc=0.1, val_loss=2.5),
        train(1, iter=1, step=1, loss=2.0, acc=0.25),
        train(1, iter=2, step=2, loss=None, acc=0.5),
        val(1, acc=0.75, val_loss=None),
    )
    for curve, epochs, steps, loss, acc in (
        (log.training, [1, 1], [1, 2], [2.0, np.nan], [0.25, 0.5]),
        (log.validation, [0, 1], [0, 2], [2.5, np.nan], [0.1, 0.75]),
    ):
        assert (curve.epochs.tolist(), curve.steps.tolist()) == (epochs, steps)
        np.testing.assert_array_equal(curve.loss, loss)
        np.testing.assert_array_equal(curve.acc, acc)


def test_the_reference_is_the_layer_input(read: ReadLines) -> None:
    log = read(val(1, metrics=at(rank=2), reference={"rank": 3}, train_reference={"rank": 4}))
    assert table(log.series["val", "input", "rank"]) == [(1, 0, 3.0, 0)]
    assert table(log.series["train", "input", "rank"]) == [(1, 0, 4.0, 0)]


def test_counts_replace_n_where_they_are(read: ReadLines) -> None:
    counts = {"layer_0": {"a": 7}, "input": {"a": 0}, "pairs": {"cka": 5}}
    log = read(val(1, n=10, metrics=at(a=1, b=2), reference={"a": 3}, counts=counts))
    ns = {(layer, metric): s.n.tolist() for (_, layer, metric), s in log.series.items()}
    assert ns == {("layer_0", "a"): [7], ("layer_0", "b"): [10], ("input", "a"): [0]}


def test_vectors_and_pairs_are_arrays_in_order_of_time(read: ReadLines) -> None:
    matrix = [[None, 0.5], [0.25, None]]
    log = read(
        val(0, vectors=at(spectrum=[3, 2, 1]), train_vectors=at(spectrum=[9])),
        train(1, step=7),
        val(1, vectors=at(spectrum=[4, None]), pairs={"cka": matrix}),
    )
    first, second = log.vectors["val", "layer_0", "spectrum"]
    assert (first.epoch, first.step, second.epoch, second.step) == (0, 0, 1, 7)
    np.testing.assert_array_equal(first.value, [3.0, 2.0, 1.0])
    np.testing.assert_array_equal(second.value, [4.0, np.nan])
    assert len(log.vectors["train", "layer_0", "spectrum"]) == 1
    (pairs,) = log.pairs["val", "cka"]
    assert (pairs.epoch, pairs.step) == (1, 7)
    np.testing.assert_array_equal(pairs.value, [[np.nan, 0.5], [0.25, np.nan]])


def test_reasons_are_counted(read: ReadLines) -> None:
    log = read(
        val(0, missing=at(cka="no neighbour"), train_missing=at(cka="no neighbour")),
        val(1, missing=at(cka="no neighbour", margin="no anchors")),
        val(2, missing=at(cka="no unit varies") | {"layer_1": {"cka:layer_2": "too few"}}),
    )
    assert log.missing == {
        ("val", "layer_0", "cka"): {"no neighbour": 2, "no unit varies": 1},
        ("train", "layer_0", "cka"): {"no neighbour": 1},
        ("val", "layer_0", "margin"): {"no anchors": 1},
        ("val", "layer_1", "cka:layer_2"): {"too few": 1},
    }
    assert log.series == {}


def test_the_test_is_read_beside_the_log(read: ReadLines) -> None:
    results = {"acc": 0.9, "epoch": 3, "n": 20, "metrics": at(margin=0.5), "note": "kept"}
    log = read(val(3, metrics=at(margin=0.4)), test=results)
    assert log.test == results
    assert table(log.series["test", "layer_0", "margin"]) == [(3, 0, 0.5, 20)]
    assert table(log.series["val", "layer_0", "margin"]) == [(3, 0, 0.4, 0)]


def test_without_a_test_there_is_none(read: ReadLines, tmp_path: Path) -> None:
    assert read(val(0)).test == {}
    assert read_log(tmp_path / "log.jsonl").test == {}


# Missing values


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "null"])
def test_what_is_no_finite_number_is_missing(read: ReadLines, token: str) -> None:
    log = read(f'{{"phase": "val", "epoch": 1, "metrics": {{"l": {{"a": {token}, "b": 1}}}}}}')
    assert list(log.series) == [("val", "l", "b")]
    assert log.missing == {("val", "l", "a"): {f"{token} in the log": 1}}
    assert log.problems == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [("high", "a text"), ([1, 2], "a list"), ({}, "an object"), (10**400, "a number")],
)
def test_what_is_no_number_costs_its_value_only(read: ReadLines, value: Any, reason: str) -> None:
    log = read(val(1, metrics=at(a=value, b=2)))
    assert table(log.series["val", "layer_0", "b"]) == [(1, 0, 2.0, 0)]
    assert log.missing == {("val", "layer_0", "a"): {f"{reason} in the log": 1}}
    assert log.problems == ()


def test_infinities_of_vectors_and_pairs_are_missing_too(read: ReadLines) -> None:
    nan, inf = float("nan"), float("inf")
    log = read(val(1, vectors=at(v=[inf, 1]), pairs={"p": [[nan, -inf], [1, 2]]}))
    np.testing.assert_array_equal(log.vectors["val", "layer_0", "v"][0].value, [nan, 1])
    np.testing.assert_array_equal(log.pairs["val", "p"][0].value, [[nan, nan], [1, 2]])


def test_curves_have_gaps_where_a_line_has_no_number(read: ReadLines) -> None:
    log = read('{"phase": "train", "epoch": 1, "loss": NaN, "acc": "?"}', val(1, acc=[0.5]))
    np.testing.assert_array_equal(log.training.loss, [np.nan])
    np.testing.assert_array_equal(log.training.acc, [np.nan])
    np.testing.assert_array_equal(log.validation.acc, [np.nan])
    np.testing.assert_array_equal(log.validation.loss, [1.0])


# Logs of older scripts


def test_without_a_training_subset_batches_are_averaged(read: ReadLines) -> None:
    log = read(
        train(1, metrics=at(margin=1.0)),
        train(1),
        train(1, metrics=at(margin=2.0)),
        val(1, metrics=at(margin=9.0)),
        train(2, metrics=at(margin=4.0)),
        train(2, metrics=at(margin=8.0)),
        val(2),
    )
    assert log.averages_batches
    assert table(log.series["train", "layer_0", "margin"]) == [(1, 3, 1.5, 0), (2, 5, 6.0, 0)]
    assert table(log.series["val", "layer_0", "margin"]) == [(1, 3, 9.0, 0)]
    assert len(log.series["batch", "layer_0", "margin"].values) == 4


def test_steps_without_a_number_are_counted(read: ReadLines) -> None:
    log = read(train(1), train(1, step=None), val(1), train(2), val(2))
    assert log.training.steps.tolist() == [1, 2, 3]
    assert log.validation.steps.tolist() == [2, 3]
    again = read(train(1, iter=0), train(1, iter=1), train(2, iter=0), train(2, iter=1))
    assert again.training.steps.tolist() == [1, 2, 3, 4]


def test_epochs_may_be_floats(read: ReadLines) -> None:
    log = read(train(1.0, step=3.0), val(1.0, n=4.0, metrics=at(margin=0.5)))
    assert table(log.series["val", "layer_0", "margin"]) == [(1, 3, 0.5, 4)]
    assert log.training.epochs.tolist() == [1]


@pytest.mark.parametrize(
    "key", ["metrics", "train_metrics", "reference", "vectors", "pairs", "missing", "counts", "n"]
)
def test_null_is_what_is_not_there(read: ReadLines, key: str) -> None:
    line = val(1, metrics=at(margin=0.5), train_metrics=at(margin=0.5)) | {key: None}
    log = read(train(1, metrics=None), line)
    phases = {"val", "train"} - {{"metrics": "val", "train_metrics": "train"}.get(key)}
    assert {phase for phase, _, _ in log.series} == phases
    assert (log.problems, log.missing) == ((), {})
    assert len(log.validation.acc) == 1


def test_layers_may_be_empty(read: ReadLines) -> None:
    log = read(val(1, metrics={}), val(2, metrics={"layer_0": {}, "layer_1": None}))
    assert (log.series, log.problems) == ({}, ())
    assert log.validation.epochs.tolist() == [1, 2]


# Resumed runs


def test_of_lines_logged_again_the_later_counts(read: ReadLines) -> None:
    """A run that was killed in epoch 3 and went on from the end of epoch 1, without cutting."""
    log = read(
        *(train(1, step=step, metrics=at(m=step)) for step in (1, 2)),
        val(1, acc=0.1, metrics=at(m=1)),
        *(train(2, step=step, metrics=at(m=step)) for step in (3, 4)),
        val(2, acc=0.9, metrics=at(m=2)),
        train(3, step=5, metrics=at(m=5)),
        *(train(2, step=step, metrics=at(m=10 * step), n=8) for step in (3, 4)),
        val(2, acc=0.2, metrics=at(m=20)),
        *(train(3, step=step, metrics=at(m=10 * step)) for step in (5, 6)),
        val(3, acc=0.3, metrics=at(m=30)),
    )
    assert log.training.steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert log.validation.acc.tolist() == [0.1, 0.2, 0.3]
    assert log.series["batch", "layer_0", "m"].values.tolist() == [1, 2, 30, 40, 50, 60]
    assert table(log.series["val", "layer_0", "m"]) == [(1, 2, 1, 0), (2, 4, 20, 0), (3, 6, 30, 0)]
    means = [(1, 2, 1.5, 0), (2, 4, 35.0, 8), (3, 6, 55.0, 0)]
    assert table(log.series["train", "layer_0", "m"]) == means


def test_lines_logged_again_are_known_by_their_iteration(read: ReadLines) -> None:
    first = [train(1, iter=1, acc=0.1), train(1, iter=2, acc=0.2), val(1, acc=0.3)]
    again = [line | {"acc": line["acc"] + 0.5} for line in first]
    log = read(*first, train(2, iter=1), *again, train(2, iter=1, acc=0.9), train(2, iter=2))
    assert log.training.steps.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(log.training.acc, [0.6, 0.7, 0.9, 0.5])
    assert log.validation.acc.tolist() == [0.8]


def test_means_do_not_mind_the_order_of_epochs(read: ReadLines) -> None:
    values = [(2, 1.0), (1, 3.0), (2, 5.0), (1, 5.0)]
    log = read(*(train(epoch, metrics=at(m=value), n=int(value)) for epoch, value in values))
    assert table(log.series["train", "layer_0", "m"]) == [(1, 4, 4.0, 5), (2, 3, 3.0, 5)]


def test_several_validations_of_an_epoch_stay_apart(read: ReadLines) -> None:
    log = read(train(1), val(1, acc=0.1), train(1), val(1, acc=0.2), val(1, acc=0.3, iter=1))
    assert log.validation.acc.tolist() == [0.1, 0.2, 0.3]
    assert log.validation.steps.tolist() == [1, 2, 2]


# What cannot be read


def test_a_half_written_line_is_told_and_left_out(read: ReadLines) -> None:
    log = read(val(1, metrics=at(m=1)), "", json.dumps(val(2, metrics=at(m=2)))[:-9])
    assert problem(log) == "log.jsonl', line 3: left out, it is not whole JSON"
    assert table(log.series["val", "layer_0", "m"]) == [(1, 0, 1.0, 0)]
    assert log.validation.epochs.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[1, 2]", "left out, it is a list; expected an object"),
        ("3", "left out, it is a number; expected an object"),
        ("null", "left out, it is null; expected an object"),
        ("[" * 100_000, "left out, it is not whole JSON"),
        ({"epoch": 1}, "left out, its phase is null; expected train or val"),
        ({"phase": ["val"], "epoch": 1}, "left out, its phase is a list; expected train or val"),
        ({"phase": "test", "epoch": 1}, "left out, its phase is a text; expected train or val"),
        ({"phase": "val"}, "left out, its epoch is null; expected a whole number"),
        ('{"phase": "val", "epoch": NaN}', "left out, its epoch is NaN; expected a whole number"),
        ('{"phase": "val", "epoch": 1e999}', "left out, its epoch is Infinity; expected a whole"),
        (val(10**30), "left out, its epoch is a number; expected a whole number"),
    ],
)
def test_a_line_that_is_none_of_a_log_is_told(read: ReadLines, line: Any, sentence: str) -> None:
    log = read(val(1), line, val(2))
    assert problem(log).startswith(f"log.jsonl', line 2: {sentence}")
    assert log.validation.epochs.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"metrics": [1]}, "metrics is left out, it is a list; expected an object"),
        ({"metrics": {"l": 1}}, "metrics.l is left out, it is a number; expected an object"),
        ({"train_reference": 1}, "train_reference is left out, it is a number"),
        ({"counts": []}, "counts is left out, it is a list"),
        ({"missing": ["m"]}, "missing is left out, it is a list"),
        ({"vectors": at(v=3)}, "vectors.layer_0.v is left out; expected a list of numbers"),
        ({"vectors": at(v=[])}, "vectors.layer_0.v is left out"),
        ({"vectors": at(v=[[1]])}, "vectors.layer_0.v is left out"),
        ({"vectors": at(v=["a"])}, "vectors.layer_0.v is left out"),
        ({"vectors": at(v=[10**400])}, "vectors.layer_0.v is left out"),
        ({"pairs": {"p": [[1, 2], [3]]}}, "pairs.p is left out; expected as many rows as columns"),
        ({"pairs": {"p": [[1, 2]]}}, "pairs.p is left out"),
        ({"pairs": {"p": [1, 2]}}, "pairs.p is left out"),
        ({"pairs": {"p": []}}, "pairs.p is left out"),
    ],
)
def test_a_part_of_another_form_costs_that_part_only(
    read: ReadLines, part: dict[str, Any], sentence: str
) -> None:
    log = read(val(1, train_metrics=at(m=1)) | part)
    assert problem(log).startswith(f"log.jsonl', line 1: {sentence}")
    assert list(log.series) == [("train", "layer_0", "m")]
    assert len(log.validation.acc) == 1


def test_what_is_wrong_in_many_lines_is_told_once(read: ReadLines) -> None:
    log = read(val(1), *(val(epoch, metrics=[epoch]) for epoch in range(2, 500)))
    expected = "log.jsonl', line 2 and 497 more: metrics is left out, it is a list"
    assert problem(log).startswith(expected)
    assert len(log.validation.acc) == 499


def test_binary_data_are_told_and_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    log = read_log(path)
    assert len(log.problems) == 1
    assert (log.series, len(log.training.acc), len(log.validation.acc)) == ({}, 0, 0)


def test_an_empty_log_holds_nothing(read: ReadLines) -> None:
    for lines in ((), ("", "  ")):
        log = read(*lines)
        assert (log.series, log.vectors, log.pairs, log.missing, log.problems) == ({},) * 4 + ((),)
        assert (log.training.acc.shape, log.validation.acc.shape) == ((0,), (0,))


def test_texts_of_other_writers_are_read(tmp_path: Path) -> None:
    """A byte-order mark, Windows ends of lines, and the line separators of Unicode in a text."""
    path = tmp_path / "log.jsonl"
    line = json.dumps(val(1, missing=at(m="no\u2028value")), ensure_ascii=False)
    path.write_bytes(f"\ufeff{line}\r\n{line.replace('1', '2')}\r\n".encode())
    log = read_log(path)
    assert log.problems == ()
    assert log.missing == {("val", "layer_0", "m"): {"no\u2028value": 2}}


# The test's results


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ("{", "left out, it is not whole JSON"),
        ("[" * 100_000, "left out, it is not whole JSON"),
        ([0.9], "left out, it is a list; expected an object"),
        ("null", "left out, it is null; expected an object"),
    ],
)
def test_a_damaged_test_is_told_and_left_out(read: ReadLines, results: Any, sentence: str) -> None:
    log = read(val(1), test=results)
    assert problem(log) == f"test_results.json': {sentence}"
    assert log.test == {}


def test_a_test_that_is_a_folder_or_no_text_is_told(tmp_path: Path) -> None:
    log, results = tmp_path / "log.jsonl", tmp_path / "test_results.json"
    log.write_text("")
    results.mkdir()
    (told,) = read_log(log, results).problems
    assert f"'{results}': left out, it cannot be read (" in told
    results.rmdir()
    results.write_bytes(b"\xff\xfe")
    (told,) = read_log(log, results).problems
    assert f"'{results}': left out, it cannot be read (" in told


@pytest.mark.parametrize("epoch", [None, "best", float("inf")])
def test_the_epoch_of_a_test_need_not_be_known(read: ReadLines, epoch: Any) -> None:
    log = read(test={"epoch": epoch, "acc": 0.5, "metrics": at(margin=0.5)})
    assert log.problems == ()
    assert table(log.series["test", "layer_0", "margin"]) == [(0, 0, 0.5, 0)]


def test_errors_and_fits_stand_beside_their_values(read: ReadLines) -> None:
    fit = {"source": "training", "n": 90, "half": at(probe=0.4)}
    log = read(
        val(1, n=9, metrics=at(probe=0.5, acc=0.6), errors=at(probe=0.1), fit=fit),
        val(2, n=9, metrics=at(probe=0.5)),
    )
    probe, acc = (log.series["val", "layer_0", name] for name in ("probe", "acc"))
    assert probe.errors.tolist() == pytest.approx([0.1, np.nan], nan_ok=True)
    assert probe.halves.tolist() == pytest.approx([0.4, np.nan], nan_ok=True)
    assert probe.n_fit.tolist() == [90, 0]
    assert acc.n_fit.tolist() == [0]
    assert np.isnan(acc.errors).all()


def test_the_untrained_network_on_the_test_split_is_epoch_0(read: ReadLines) -> None:
    before = {"n": 5, "metrics": at(acc=0.1), "errors": at(acc=0.02)}
    log = read(val(3), test={"epoch": 3, "n": 5, "metrics": at(acc=0.9), "untrained": before})
    series = log.series["test", "layer_0", "acc"]
    assert table(series) == [(0, 0, 0.1, 5), (3, 0, 0.9, 5)]
    assert series.errors.tolist() == pytest.approx([0.02, np.nan], nan_ok=True)


def test_the_accuracy_may_have_the_name_that_older_scripts_gave_it(read: ReadLines) -> None:
    lines = [train(1, acc_last=0.25), val(1, acc_last=0.75)]
    log = read(*({key: x for key, x in line.items() if key != "acc"} for line in lines))
    assert (log.training.acc.tolist(), log.validation.acc.tolist()) == ([0.25], [0.75])
