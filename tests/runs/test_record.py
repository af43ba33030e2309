"""Tests of `cmp_core.runs.record`: run directories written by hand, whole and damaged."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from cmp_core import load_run
from cmp_core.errors import DataError, UsageError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord

WriteRun = Callable[..., RunRecord]


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """A function that writes a run directory and reads it back.

    Files are given by name: bytes and texts as they are, mappings of arrays as `.npz`, arrays as
    `.npy`, other values as JSON.
    """

    def write_run(*lines: Any, params: str = "model: greedy", **files: Any) -> RunRecord:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").write_text(params)
        (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        for name, content in files.items():
            (folder / FILES[name]).write_bytes(as_bytes(content))
        return load_run(folder)

    return write_run


FILES = {
    "confusion": "confusion.npy",
    "environment": "environment.json",
    "facts": "metrics.json",
    "predictions": "test_predictions.npz",
    "status": "status.json",
    "test": "test_results.json",
}


def as_bytes(content: Any) -> bytes:
    """The bytes of a file."""
    if isinstance(content, (bytes, str)):
        return content if isinstance(content, bytes) else content.encode()
    if isinstance(content, np.ndarray):
        stream = io.BytesIO()
        np.save(stream, content)
        return stream.getvalue()
    if isinstance(content, dict) and any(isinstance(v, np.ndarray) for v in content.values()):
        stream = io.BytesIO()
        np.savez_compressed(stream, **content)
        return stream.getvalue()
    return json.dumps(content).encode()


def val(epoch: int, acc: float | None = 0.5, **metrics: dict[str, Any]) -> dict[str, Any]:
    """A line of an end of an epoch, given the values of each layer."""
    return {"phase": "val", "epoch": epoch, "acc": acc, "val_loss": 1.0, "metrics": metrics}


TWO_LAYERS = val(1, layer_0={"margin": 0.1}, layer_1={"margin": 0.2})


# Configuration and layers


def test_a_record_names_what_was_run(write: WriteRun) -> None:
    run = write(val(1), params="model: mlp\ndataset: mnist\nseed: 7\nlr: 1e-3")
    assert (run.name, run.model, run.dataset, run.seed) == ("run", "mlp", "mnist", 7)
    assert run.config["lr"] == 0.001


def test_what_the_configuration_does_not_name_is_not_known(write: WriteRun) -> None:
    run = write(val(1), params="")
    assert (run.model, run.dataset, run.seed, dict(run.config)) == ("?", "?", None, {})


def test_layers_stand_in_the_order_of_the_log_with_the_head_last(write: WriteRun) -> None:
    """Digits in names are no depths: `conv3x3` may come after `conv5x5`, and `b2` before `a1`."""
    names = ("conv5x5", "conv3x3", "b2", "a10", "a9", "2", "1")
    run = write(val(1, head={"m": 1}, **{name: {"m": 1} for name in names}))
    assert run.layers == (*names, "head")
    assert run.hidden_layers == names


def test_a_layer_stands_where_it_first_appears_with_a_value_or_without(write: WriteRun) -> None:
    first = val(1, b={"m": None}, a={"m": 1}) | {"vectors": {"c": {"v": [1, 2]}}}
    run = write(first, val(2, d={"m": 1}, a={"m": 1}, b={"m": 1}, e={"m": None}))
    assert run.layers == ("b", "a", "c", "d")


def test_the_environment_tells_the_order_of_layers(write: WriteRun) -> None:
    line = val(1, conv={"m": 1}, block_2={"m": 1}, block_10={"m": 1})
    run = write(line, environment={"layers": ["stem", "conv", "conv"]})
    assert run.layers == ("stem", "conv", "block_2", "block_10")


def test_layers_of_vectors_count_and_the_input_does_not(write: WriteRun) -> None:
    line = val(1) | {"vectors": {"layer_3": {"v": [1, 2]}}, "reference": {"m": 1}}
    assert write(line).layers == ("layer_3",)


@pytest.mark.parametrize("layers", [None, 3, "layer_0", {"layer_0": 1}])
def test_layers_of_another_form_are_those_of_the_log(write: WriteRun, layers: Any) -> None:
    run = write(TWO_LAYERS, environment={"layers": layers, "class_names": layers})
    assert run.layers == ("layer_0", "layer_1")
    assert run.class_names == ()


def test_classes_are_named_or_numbered(write: WriteRun) -> None:
    counts = np.eye(3, dtype=np.int64)
    assert write(val(1)).class_names == ()
    assert write(val(1), confusion=counts).class_names == ("0", "1", "2")
    run = write(val(1), confusion=counts, environment={"class_names": ["cat", "dog", 8]})
    assert run.class_names == ("cat", "dog", "8")


# Values


def test_values_are_found_by_epoch(write: WriteRun) -> None:
    run = write(*(val(epoch, layer_0={"m": value}) for epoch, value in enumerate((3.0, 5.0, 4.0))))
    assert run.value("val", "layer_0", "m") == 4
    assert [run.value("val", "layer_0", "m", epoch) for epoch in (0, 1, 2)] == [3, 5, 4]
    for phase, layer, metric, epoch in (
        ("val", "layer_0", "m", 3),
        ("test", "layer_0", "m", None),
        ("val", "input", "m", None),
    ):
        assert math.isnan(run.value(phase, layer, metric, epoch))


def test_of_several_values_of_an_epoch_the_last_counts(write: WriteRun) -> None:
    steps = [{"phase": "train", "epoch": 1, "metrics": {"l": {"m": m}}} for m in (1.0, 2.0)]
    run = write(*steps)
    assert run.value("batch", "l", "m", 1) == 2
    epochs, values = run.grid("batch", "m")
    assert (epochs.tolist(), values.tolist()) == ([1], [[2.0]])


def test_profiles_and_grids_have_gaps(write: WriteRun) -> None:
    run = write(
        val(0, layer_0={"m": 1.0}, layer_1={"m": 2.0}),
        val(2, layer_1={"m": 3.0}),
        val(3, layer_0={"m": 4.0}, head={"other": 9.0}),
    )
    nan = math.nan
    np.testing.assert_array_equal(run.profile("val", "m"), [4, 3, nan])
    np.testing.assert_array_equal(run.profile("val", "m", epoch=2), [nan, 3, nan])
    np.testing.assert_array_equal(run.profile("val", "m", 0, ["layer_1", "head"]), [2, nan])
    epochs, values = run.grid("val", "m")
    assert epochs.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(values, [[1, nan, 4], [2, 3, nan], [nan] * 3])
    epochs, values = run.grid("test", "m")
    assert (epochs.shape, values.shape) == ((0,), (3, 0))


def test_vectors_and_pairs_are_found_or_empty(write: WriteRun) -> None:
    line = TWO_LAYERS | {"vectors": {"layer_0": {"v": [1]}}, "pairs": {"p": [[1, 2], [3, 4]]}}
    run = write(line)
    (vector,) = run.vectors("val", "layer_0", "v")
    (matrix,) = run.pairs("val", "p")
    assert (vector.value.tolist(), matrix.value.tolist()) == ([1], [[1, 2], [3, 4]])
    assert (run.vectors("test", "layer_0", "v"), run.pairs("train", "p")) == ((), ())


NAMES = [
    (lambda run: run.series("vla", "layer_0", "margin"), "phase 'vla'; did you mean 'val'?"),
    (lambda run: run.series("val", "layer0", "margin"), "layer 'layer0'; did you mean 'layer_0'?"),
    (lambda run: run.series("val", "layer_0", "mragin"), "metric 'mragin'; did you mean 'margin'?"),
    (lambda run: run.value("val", "layer_0", "f1"), "metric 'f1'; known: lost, margin, p, v"),
    (lambda run: run.profile("val", "mragin"), "metric 'mragin'; did you mean 'margin'?"),
    (lambda run: run.profile("val", "margin", layers=["z"]), "layer 'z'; known: input, layer_0, "),
    (lambda run: run.grid("val", "mragin"), "metric 'mragin'; did you mean 'margin'?"),
    (lambda run: run.vectors("val", "layer0", "v"), "layer 'layer0'; did you mean 'layer_0'?"),
    (lambda run: run.pairs("val", "q"), "metric 'q'; known: lost, margin, p, v"),
    (lambda run: run.influence("layer_0", "f1"), "metric 'f1'; known: lost, margin, p, v"),
]


@pytest.mark.parametrize(("ask", "message"), NAMES)
def test_an_unknown_name_is_an_error_that_names_the_nearest(
    write: WriteRun, ask: Callable[[RunRecord], object], message: str
) -> None:
    line = TWO_LAYERS | {"vectors": {"layer_0": {"v": [1]}}, "pairs": {"p": [[1, 2], [3, 4]]}}
    run = write(line | {"missing": {"layer_0": {"lost": "too few samples"}}})
    with pytest.raises(UsageError, match=re.escape(f"run run: unknown {message}")):
        ask(run)


def test_a_series_that_is_not_there_is_an_error_with_the_reason(write: WriteRun) -> None:
    run = write(TWO_LAYERS | {"missing": {"layer_0": {"lost": "too few samples"}}})
    with pytest.raises(UsageError, match=r"^run run has no test value of margin at layer_0$"):
        run.series("test", "layer_0", "margin")
    with pytest.raises(UsageError, match="no val value of lost at layer_0: too few samples"):
        run.series("val", "layer_0", "lost")
    assert math.isnan(run.value("val", "layer_0", "lost"))


def test_metrics_are_headlines_and_further_values(write: WriteRun) -> None:
    values = {"ace": 1, "ace_js": 2, "ace_64": 3, "ace_64_js": 4, "unheard": 5, "unheard_of": 6}
    facts = [MetricInfo("ace", "ace", unit="nats"), MetricInfo("ace_64", "ace", unit="bits")]
    line = val(1, layer_0=values) | {"vectors": {"layer_0": {"spectrum": [1, 2]}}}
    run = write(line, facts=dump_metric_info(facts))
    assert run.metrics == (*values, "spectrum")
    assert run.headlines == ("ace", "ace_64", "unheard", "unheard_of")
    found = [facts.label if (facts := run.metric_info_of(name)) else None for name in run.metrics]
    assert found == ["ace", "ace", "ace_64", "ace_64", None, None, None]
    assert [run.unit_of(name) for name in ("ace", "ace_64", "ace_js", "unheard")] == [
        "nats",
        "bits",
        "",
        "",
    ]


# The tested epoch


def test_the_test_tells_its_epoch(write: WriteRun) -> None:
    lines = [val(1, 0.9), val(2, 0.1)]
    assert write(*lines, test={"epoch": 2}).tested_epoch == 2
    assert write(*lines, test={"epoch": 2.0}).tested_epoch == 2


@pytest.mark.parametrize("test", [{}, {"epoch": None}, {"epoch": "best"}, {"acc": 0.5}])
def test_without_it_the_best_epoch_counts(write: WriteRun, test: dict[str, Any]) -> None:
    lines = [val(0, 0.95), val(1, 0.7), val(2, 0.9), val(3, None), val(4, 0.9), val(5, 0.8)]
    assert write(*lines, test=test).tested_epoch == 2


def test_without_accuracies_it_is_the_last_epoch(write: WriteRun) -> None:
    assert write(val(0, 0.5), val(1, None), val(2, None)).tested_epoch == 2
    assert write(val(0, 0.5)).tested_epoch == 0
    assert write({"phase": "train", "epoch": 1}).tested_epoch == 0


# Test accuracies


def test_accuracies_stand_in_order_of_depth(write: WriteRun) -> None:
    layers = {"head": 0.9, "conv_2": 0.5, "conv_1": 0.6, "a": 0.8}
    run = write(val(1, a={"m": 1}), test={"acc": 0.9, "acc_layers": layers})
    assert list(run.test_accuracies.items()) == [
        ("a", 0.8),
        ("conv_2", 0.5),
        ("conv_1", 0.6),
        ("head", 0.9),
    ]
    names = ["stem", "block", "out"]
    run = write(
        val(1), environment={"layers": names}, test={"acc_layers": dict.fromkeys(names[::-1], 0.5)}
    )
    assert list(run.test_accuracies) == names


@pytest.mark.parametrize("layers", [None, {}, [], 0.9])
def test_the_output_alone_is_the_last_layer(write: WriteRun, layers: Any) -> None:
    run = write(TWO_LAYERS, test={"acc": 0.9, "acc_layers": layers})
    assert run.test_accuracies == {"layer_1": 0.9}


def test_without_layers_it_is_the_output(write: WriteRun) -> None:
    assert write(val(1), test={"acc": 0.9}).test_accuracies == {"output": 0.9}


@pytest.mark.parametrize(
    "test", [{}, {"acc": None}, {"acc": "high"}, {"acc": math.nan}, {"acc": [0.9]}, [0.9]]
)
def test_what_was_not_tested_has_no_accuracy(write: WriteRun, test: Any) -> None:
    assert write(TWO_LAYERS, test=test).test_accuracies == {}


def test_a_layer_without_an_accuracy_is_left_out(write: WriteRun) -> None:
    layers = {"layer_0": None, "layer_1": 0.6, "layer_2": "?", "layer_3": math.inf}
    assert write(val(1), test={"acc_layers": layers}).test_accuracies == {"layer_1": 0.6}


# Predictions and confusion


def predictions(**arrays: Any) -> dict[str, Any]:
    """Predictions of four samples."""
    ids = np.arange(4)
    given = {"sample_ids": ids, "labels": ids, "layer_0": ids, "layer_1": ids} | arrays
    return {name: array for name, array in given.items() if array is not None}


def test_predictions_and_confusion_are_arrays(write: WriteRun) -> None:
    counts = np.array([[2, 0], [1, 3]])
    file = predictions(extra=np.eye(3))
    run = write(TWO_LAYERS, predictions=file, confusion=counts)
    found = run.predictions
    assert found is not None
    assert found.keys() == file.keys()
    np.testing.assert_array_equal(found["layer_1"], file["layer_1"])
    np.testing.assert_array_equal(run.confusion, counts)


def test_without_a_test_there_are_none(write: WriteRun) -> None:
    run = write(TWO_LAYERS)
    assert (run.predictions, run.confusion) == (None, None)


GARBAGE = np.random.default_rng(0).bytes(500)
NPZ = as_bytes(predictions())
NPY = as_bytes(np.eye(3, dtype=np.int64))
FLIPPED = NPZ[:60] + bytes(byte ^ 255 for byte in NPZ[60:90]) + NPZ[90:]
DAMAGED = {
    "empty": b"",
    "garbage": GARBAGE,
    "a text": b"layer,accuracy\n",
    "the start of an archive": b"PK\x03\x04" + GARBAGE,
    "half an archive": NPZ[: len(NPZ) // 2],
    "a changed archive": FLIPPED,
    "half an array": NPY[:-20],
    "half a header": NPY[:30],
    "objects": as_bytes({"labels": np.array([None, 1], dtype=object)}),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_named(write: WriteRun, content: bytes) -> None:
    run = write(TWO_LAYERS, predictions=content, confusion=content)
    for name in ("predictions", "confusion"):
        file = run.directory / FILES[name]
        with pytest.raises(DataError, match="cannot be read: ") as caught:
            getattr(run, name)
        assert str(caught.value).startswith(f"'{file}' ")
        assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_a_file_is_named(write: WriteRun) -> None:
    run = write(TWO_LAYERS)
    for name in ("predictions", "confusion"):
        (run.directory / FILES[name]).mkdir()
        with pytest.raises(DataError, match=f"{FILES[name]}' cannot be read"):
            getattr(run, name)


@pytest.mark.parametrize(
    "arrays",
    [
        {"layer_1": np.arange(3)},
        {"sample_ids": np.arange(5)},
        {"layer_0": np.eye(4)},
        {"labels": np.array(3)},
        dict.fromkeys(("labels", "sample_ids", "layer_0", "layer_1"), np.eye(2)),
    ],
)
def test_predictions_of_different_lengths_are_refused(
    write: WriteRun, arrays: dict[str, Any]
) -> None:
    run = write(TWO_LAYERS, predictions=predictions(**arrays))
    rule = r"test_predictions.npz': expected arrays \(n,\) of the same n, got labels \("
    with pytest.raises(DataError, match=rule):
        _ = run.predictions


def test_predictions_may_lack_anything(write: WriteRun) -> None:
    for names in ((), ("labels", "sample_ids"), ("sample_ids", "layer_0", "layer_1")):
        run = write(TWO_LAYERS, predictions=predictions(extra=np.eye(2), **dict.fromkeys(names)))
        assert run.predictions is not None
        assert not run.predictions.keys() & set(names)


def test_one_kind_of_file_is_not_the_other(write: WriteRun) -> None:
    run = write(TWO_LAYERS, predictions=np.arange(3), confusion=predictions())
    with pytest.raises(DataError, match=r"npz': expected arrays by name \(.npz\), got a single"):
        _ = run.predictions
    with pytest.raises(DataError, match=r"npy': expected one array \(.npy\), got 4 by name"):
        _ = run.confusion


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        (np.arange(4), "int64 of shape (4,)"),
        (np.ones((2, 3)), "float64 of shape (2, 3)"),
        (np.zeros((0, 0)), "float64 of shape (0, 0)"),
        (np.array([["a"]]), "<U1 of shape (1, 1)"),
    ],
)
def test_a_confusion_of_another_form_is_refused(write: WriteRun, counts: Any, found: str) -> None:
    run = write(TWO_LAYERS, confusion=counts)
    with pytest.raises(DataError) as caught:
        _ = run.confusion
    assert str(caught.value).endswith(f"confusion.npy': expected counts (C, C), got {found}")


# Rows


def test_rows_are_all_numbers_of_the_log(write: WriteRun) -> None:
    fit = {"source": "training", "n": 99, "half": {"layer_0": {"m": 0.4}}}
    line = val(1, layer_0={"m": 0.5}) | {"n": 10, "reference": {"m": 1}, "fit": fit}
    line |= {"errors": {"layer_0": {"m": 0.0625}}, "vectors": {"layer_0": {"v": [1, 2]}}}
    step = {"phase": "train", "epoch": 1, "step": 3, "n": 4, "metrics": {"layer_0": {"m": 0.25}}}
    run = write(step, line, test={"epoch": 1, "metrics": {"layer_0": {"m": 2}}})
    columns = ["phase", "epoch", "step", "layer", "metric", "value", "error", "n", "n_fit"]
    nan = math.nan
    expected = [
        ("batch", 1, 3, "layer_0", "m", 0.25, nan, 4, 0),
        ("val", 1, 3, "layer_0", "m", 0.5, 0.0625, 10, 99),
        ("val", 1, 3, "input", "m", 1.0, nan, 10, 0),
        ("test", 1, 0, "layer_0", "m", 2.0, nan, 0, 0),
        ("train", 1, 3, "layer_0", "m", 0.25, nan, 4, 0),
    ]
    pandas.testing.assert_frame_equal(run.rows, pandas.DataFrame(expected, columns=columns))


def test_rows_of_a_run_without_numbers_have_the_same_columns_and_types(write: WriteRun) -> None:
    empty, full = write().rows, write(TWO_LAYERS).rows
    assert len(empty) == 0
    numbers = list(full.select_dtypes("number"))
    assert numbers == ["epoch", "step", "value", "error", "n", "n_fit"]
    assert dict(empty.dtypes[numbers]) == dict(full.dtypes[numbers])
    assert list(empty.columns) == list(full.columns)


def test_rows_take_the_methods_of_pandas(write: WriteRun) -> None:
    table = write(TWO_LAYERS).rows.pivot(columns="layer", index="epoch", values="value")
    assert table.loc[1].tolist() == [0.1, 0.2]


def test_a_run_is_read_without_torch_or_pandas(write: WriteRun) -> None:
    run = write(TWO_LAYERS, facts=dump_metric_info([MetricInfo("margin", "margin")]))
    script = (
        "import sys, cmp_core\n"
        f"run = cmp_core.load_run({str(run.directory)!r})\n"
        "run.layers, run.metrics, run.headlines, run.profile('val', 'margin')\n"
        "print(*{'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


# Facts


def test_facts_are_those_that_the_run_has_stored(write: WriteRun) -> None:
    own = MetricInfo("margin", "margin", summary="Mine.", unit="furlongs", bounds=(0, 9))
    run = write(TWO_LAYERS, facts=dump_metric_info([own]))
    assert (dict(run.metric_info), run.problems) == ({"margin": own}, ())


def test_without_them_they_are_those_of_the_installed_metrics(write: WriteRun) -> None:
    line = val(1, layer_0={"accuracy": 0.5, "unheard_of": 1})
    run = write(line | {"vectors": {"layer_0": {"eigenspectrum": [1]}}})
    assert run.metric_info == {}
    run = with_installed_metric_info(run)
    assert set(run.metric_info) == {"accuracy", "eigenspectrum"}
    assert (run.metric_info["accuracy"].question, run.metric_info["accuracy"].evidence) == (
        "predictive",
        "rises",
    )
    assert run.problems == ()


def test_broken_facts_are_told_and_replaced(write: WriteRun) -> None:
    run = write(val(1, layer_0={"accuracy": 0.5}), facts=b"\xff\xfe")
    (told,) = run.problems
    assert told.startswith(f"'{run.directory / 'metrics.json'}' is left out: ")
    assert "expected text in UTF-8, got byte 0xff" in told
    assert run.metric_info == {}
    assert with_installed_metric_info(run).metric_info["accuracy"].evidence == "rises"


# Loading


def test_other_files_may_be_missing(write: WriteRun) -> None:
    run = write(TWO_LAYERS)
    assert (run.environment, run.status, run.log.test, run.problems) == ({}, {}, {}, ())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "Expecting property name"),
        (b"\xff", "expected text in UTF-8, got byte 0xff"),
        ("", "it is empty; expected {name: value}"),
        ('{"a": 1', "it is not whole JSON: Expecting"),
        ("[" * 100_000, "it is nested too deeply"),
        ([1, 2], "expected {name: value}, got [1, 2]"),
        ("null", "expected {name: value}, got null"),
    ],
)
def test_other_files_that_are_broken_are_told(write: WriteRun, content: Any, sentence: str) -> None:
    run = write(TWO_LAYERS, environment=content, status=content)
    files = [run.directory / name for name in ("environment.json", "status.json")]
    for file, told in zip(files, run.problems, strict=True):
        assert told.startswith(f"'{file}' is left out: ")
        assert sentence in told
    assert (run.environment, run.status) == ({}, {})


def test_a_byte_order_mark_does_not_matter(write: WriteRun) -> None:
    """Windows' editors put one in front."""
    run = write(TWO_LAYERS, environment={"seed": 3}, status={"epoch": 2}, test={"acc": 0.5})
    info = dump_metric_info([MetricInfo("m", "margin")])
    (run.directory / "metrics.json").write_text(info)
    for path in run.directory.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    again = load_run(run.directory)
    assert again.problems == ()
    assert (again.environment, again.status) == ({"seed": 3}, {"epoch": 2})
    assert (again.log.test, again.config) == ({"acc": 0.5}, run.config)
    assert again.metric_info["m"].metric == "margin"


def test_folders_in_the_place_of_files_are_told(write: WriteRun) -> None:
    names = ("test_results.json", "environment.json", "status.json", "metrics.json")
    folder = write(TWO_LAYERS).directory
    for name in names:
        (folder / name).mkdir()
    problems = load_run(folder).problems
    assert [told.split("'")[1] for told in problems] == [str(folder / name) for name in names]


def test_problems_of_the_log_are_among_those_of_the_run(write: WriteRun) -> None:
    run = write(TWO_LAYERS, [1], test="{", facts="{")
    assert len(run.problems) == 3
    assert run.problems[:2] == run.log.problems


def test_a_run_without_a_log_has_nothing_to_show(write: WriteRun) -> None:
    log = write(TWO_LAYERS).directory / "log.jsonl"
    log.unlink()
    with pytest.raises(UsageError, match=r"run' has no log.jsonl: there is nothing to show yet$"):
        load_run(log.parent)
    log.mkdir()
    with pytest.raises(UsageError, match=r"has no log.jsonl"):
        load_run(log.parent)


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("a: [", "params.yaml' is not valid YAML (line 1, column 5)"),
        ("- a\n- b", "params.yaml': expected `key: value` lines, got ['a', 'b']"),
        ("\x00", "params.yaml' is not valid YAML"),
    ],
)
def test_a_broken_configuration_is_a_sentence(write: WriteRun, params: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        write(TWO_LAYERS, params=params)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"\n\n", GARBAGE, b"[1]\n[2]\n", b"1\n2\n", b"{}\n"])
def test_a_log_that_holds_nothing_is_told_and_an_empty_run(write: WriteRun, text: bytes) -> None:
    folder = write(TWO_LAYERS).directory
    (folder / "log.jsonl").write_bytes(text)
    run = load_run(folder)
    nothing = "log.jsonl' holds no training step and no epoch that can be read"
    assert run.problems[-1].endswith(nothing)
    assert (run.layers, run.metrics, run.headlines, run.metric_info) == ((), (), (), {})
    assert (run.tested_epoch, run.test_accuracies, len(run.rows)) == (0, {}, 0)
