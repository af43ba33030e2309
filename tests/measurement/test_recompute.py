"""Measuring stored activations: the same numbers as in the run, and what the command line does."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy.stats import t

from cmp_core import measure_arrays, run
from cmp_core.cli import cli
from cmp_core.config.schema import Config, Selection, Snapshots
from cmp_core.errors import UndefinedError, UsageError
from cmp_core.events.rows import Row, log_form
from cmp_core.measurement.recompute import find_snapshots, recompute
from cmp_core.snapshots.read import open_snapshot
from cmp_metrics.accuracy import accuracy
from cmp_metrics.ace_regularizer import ace_regularizer
from cmp_metrics.alignment import alignment
from cmp_metrics.cross_entropy import cross_entropy
from cmp_metrics.eigenspectrum import eigenspectrum
from cmp_metrics.f1_score import f1_score
from cmp_metrics.gaussian_entropy import gaussian_entropy
from cmp_metrics.label_information import label_information
from cmp_metrics.linear_cka import linear_cka
from cmp_metrics.margin import margin
from cmp_metrics.mutual_information import mutual_information
from cmp_metrics.participation_ratio import participation_ratio
from cmp_metrics.probe_accuracy import probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2
from tests.run_files import lines

Make = Callable[..., Path]
KEYS = ["snapshot", "phase", "epoch", "step", "layer", "other", "metric"]
KEYS += ["value", "error", "reason", "n", "pair", "fit", "n_fit", "by_half_fit"]


def small(out: Path, **values: Any) -> Config:
    """A run of a second or two with all metrics, whose snapshots hold all samples."""
    given = {"N": 12, "layers": 3, "epochs": 2, "batch_size": 512, "snapshots": Snapshots("val")}
    given |= {"device": "cpu", "out": str(out)} | values
    return Config(**given)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Runs, each of which is trained once."""
    known: dict[str, Path] = {}

    def directory(**values: Any) -> Path:
        key = repr(values)
        if key not in known:
            known[key] = run(small(tmp_path_factory.mktemp("run"), **values)).directory
        return known[key]

    return directory


@pytest.fixture(scope="module")
def directory(make: Make) -> Path:
    """A run with three quick metrics and three snapshots."""
    names = ("accuracy", "linear_cka", "eigenspectrum")
    return make(metrics=tuple(Selection(name, name) for name in names))


def call(*arguments: object) -> Result:
    """Run `cmp recompute` in this process."""
    return CliRunner().invoke(cli, ["recompute", *map(str, arguments)])


def json_lines(text: str) -> list[dict[str, Any]]:
    """Strict JSON, line by line."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not strict JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


# As in the run


def assert_close(found: Any, expected: Any, place: str = "") -> None:
    """Compare nested values; numbers within 1e-4 of their size, all else exactly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            assert_close(found[key], value, f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for i, value in enumerate(expected):
            assert_close(found[i], value, f"{place}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6), place
    else:
        assert found == expected, place


def assert_as_in_the_log(directory: Path, phase: str = "val", prefix: str = "") -> int:
    """Compare the rows of every snapshot with its line in the log; return their number."""
    names = tuple(json.loads((directory / "environment.json").read_text())["layers"])
    logged = {entry["epoch"]: entry for entry in lines(directory) if entry["phase"] == "val"}
    count = 0
    for result in recompute([directory], workers=1):
        assert result.error is None
        assert not result.failures
        assert result.phase == phase
        entry = logged[result.epoch]
        kinds = ("n", "metrics", "vectors", "pairs", "reference", "missing", "counts", "fit")
        if prefix + "errors" in entry:
            kinds = (*kinds, "errors")
        expected = {prefix + kind: entry[prefix + kind] for kind in kinds if prefix + kind in entry}
        found = log_form(result.rows, names, int(entry[prefix + "n"]), prefix)
        if prefix + "errors" not in entry:  # a run gives them at its ends alone
            del found[prefix + "errors"]
        assert_close(found, expected, f"epoch {result.epoch}")
        count += len(result.rows)
    return count


ALL = {"snapshots": Snapshots(samples="all", fit="all"), "plugins": ("cmp:dead_units",)}


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_every_value_and_reason_is_that_of_the_run(make: Make, model: str) -> None:
    directory = make(model=model, **ALL)
    assert assert_as_in_the_log(directory) > 250
    rows = next(iter(recompute([directory], workers=1))).rows
    assert {row.layer for row in rows if row.metric == "dead_units"} >= {"input", "layer_0"}
    assert any(row.pair for row in rows)
    assert any(isinstance(row.value, tuple) for row in rows)
    assert any(row.reason for row in rows)


def test_values_of_the_training_subset_are_those_of_the_run(make: Make) -> None:
    options = Snapshots(phase="train", samples="all", schedule=(0, -1), fit="all")
    directory = make(snapshots=options)
    assert assert_as_in_the_log(directory, "train", "train_") > 100


def test_values_of_the_test_are_those_of_the_run(make: Make) -> None:
    directory = make(snapshots=Snapshots(phase="test", samples="all", fit="all"))
    results = json.loads((directory / "test_results.json").read_text())
    untrained, tested = recompute([directory], workers=1)
    for result, wanted in ((tested, results), (untrained, results["untrained"])):
        found = log_form(result.rows, ("layer_0", "layer_1", "layer_2"), 359)
        for kind, values in found.items():
            assert_close(values, wanted[kind], kind)
    epochs = [(result.phase, result.epoch) for result in (untrained, tested)]
    assert epochs == [("test", 0), ("test", results["epoch"])]


def test_a_run_of_many_chunks_gives_the_same_values(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = make(model="greedy", **ALL)
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", 7)
    assert assert_as_in_the_log(directory) > 250


def test_arrays_of_many_chunks_have_the_values_of_a_file(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("probe_accuracy", "gaussian_entropy", "linear_cka")
    metrics = tuple(Selection(name, name) for name in names)
    options = Snapshots(samples="all", schedule=(-1,), fit="none")
    directory = make(snapshots=options, metrics=metrics)
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", 64)
    (result,) = recompute([directory], workers=1)
    (path,) = (directory / "activations").glob("*.h5")
    with open_snapshot(path) as snapshot:
        layers = {layer.name: layer.activations[:] for layer in snapshot.layers}
        found = measure_arrays(layers, snapshot.labels, names, sample_ids=snapshot.sample_ids)
    values = {str(row) for row in found if row.value is not None}
    assert values <= {str(attrs.evolve(row, error=None)) for row in result.rows}
    assert len(values) == 2 * 3 + 2 + 3 * 3  # of 3 layers, of neighbours, and of all pairs


def test_fewer_layers_without_inputs_have_the_values_of_the_run(make: Make) -> None:
    options = Snapshots(samples="all", layers=("layer_0", "layer_1"), inputs=False)
    metrics = tuple(Selection(name, name) for name in ("accuracy", "eigenspectrum"))
    directory = make(snapshots=options, metrics=metrics)
    logged = {entry["epoch"]: entry for entry in lines(directory) if entry["phase"] == "val"}
    for result in recompute([directory], workers=1):
        assert {row.layer for row in result.rows} == {"layer_0", "layer_1"}
        entry = logged[result.epoch]
        for row in result.rows:
            kind = "vectors" if isinstance(row.value, tuple) else "metrics"
            expected = entry[kind][row.layer][row.metric]
            value = list(row.value) if isinstance(row.value, tuple) else row.value
            assert_close(value, expected, row.metric)


def test_half_precision_is_close(make: Make, directory: Path) -> None:
    names = ("accuracy", "linear_cka", "eigenspectrum")
    metrics = tuple(Selection(name, name) for name in names)
    half = make(snapshots=Snapshots(dtype="float16"), metrics=metrics)
    for few, many in zip(
        recompute([half], workers=1), recompute([directory], workers=1), strict=True
    ):
        for first, second in zip(few.rows, many.rows, strict=True):
            assert first.reason == second.reason
            if first.value is not None:
                assert first.value == pytest.approx(second.value, rel=2e-2, abs=2e-2)


# From another program


Array = NDArray[Any]
RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
WIDE = RNG.normal(size=(60, 6)) + 2 * np.eye(3, 6)[LABELS]
NARROW = np.maximum(WIDE @ RNG.normal(size=(6, 4)), 0) + 0.1
SCORES = RNG.normal(size=(60, 3)) + np.eye(3)[LABELS]
ANCHORS = RNG.normal(size=(3, 6))


def by_hand(path: Path, *layers: dict[str, Array], **datasets: Array) -> Path:
    """Write layers {dataset: values} and further datasets as another program would."""
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        for name, values in datasets.items():
            file[name] = values
        for depth, layer in enumerate(layers):
            group = file.create_group(f"layers/block_{depth}")
            group.attrs["depth"] = depth
            for name, values in layer.items():
                group[name] = values
    return path


Values = dict[tuple[str, str], Row]


def values_of(path: Path, **options: Any) -> Values:
    """The rows of a file by layer and metric, without those of the matrices."""
    (result,) = recompute([path], workers=1, **options)
    assert result.error is None
    assert not result.failures
    return {(row.layer, row.metric): row for row in result.rows if not row.pair}


def assert_value(row: Row, expected: Any) -> None:
    assert row.reason is None
    assert row.n == 60
    expected = np.asarray(expected).tolist()
    value = list(row.value) if isinstance(row.value, tuple) else row.value
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-6), row


def unlabelled(x: Array) -> dict[str, Any]:
    """Values of the plain functions that need activations alone."""
    return {
        "participation_ratio": participation_ratio(x),
        "eigenspectrum": eigenspectrum(x),
        "gaussian_entropy": gaussian_entropy(x),
        "mutual_information": mutual_information(x)[""],
    }


def labelled(x: Array) -> dict[str, Any]:
    """Values of the plain functions that need activations and labels."""
    return {
        "probe_accuracy": probe_accuracy(x, LABELS),
        "f1_score": f1_score(x, LABELS),
        "label_information": label_information(x, LABELS),
    }


def test_a_file_with_everything_has_the_values_of_the_plain_functions(tmp_path: Path) -> None:
    first = {"activations": WIDE, "scores": SCORES, "anchors": ANCHORS}
    second = {"activations": NARROW, "scores": 2 * SCORES[:, ::-1]}
    rows = values_of(by_hand(tmp_path / "x.h5", first, second, labels=LABELS))
    expected = {
        "accuracy": accuracy(SCORES, LABELS),
        "cross_entropy": cross_entropy(SCORES, LABELS),
        "alignment": alignment(WIDE, ANCHORS, LABELS),
        "margin": margin(WIDE, ANCHORS, LABELS),
        "ace_regularizer": ace_regularizer(SCORES, second["scores"]),
        **unlabelled(WIDE),
        **labelled(WIDE),
    }
    for name, value in expected.items():
        assert_value(rows["block_0", name], value)
    for name, value in (unlabelled(NARROW) | labelled(NARROW)).items():
        assert_value(rows["block_1", name], value)
    assert_value(rows["block_1", "accuracy"], accuracy(second["scores"], LABELS))
    assert_value(rows["block_1", "linear_cka"], linear_cka(WIDE, NARROW))
    assert rows["block_1", "linear_cka"].other == "block_0"
    assert rows["block_1", "margin"].reason == "block_1 has no anchors"
    assert rows["block_1", "alignment"].reason == "block_1 has no anchors"
    assert rows["block_0", "linear_cka"].reason == "block_0 is the first layer"
    assert rows["block_1", "ridge_r2"].reason == "block_1 is the last layer"


def test_without_labels_what_needs_none_is_measured(tmp_path: Path) -> None:
    layers = ({"activations": WIDE, "scores": SCORES, "anchors": ANCHORS}, {"activations": NARROW})
    rows = values_of(by_hand(tmp_path / "x.h5", *layers))
    for name, value in unlabelled(WIDE).items():
        assert_value(rows["block_0", name], value)
    assert_value(rows["block_1", "linear_cka"], linear_cka(WIDE, NARROW))
    # Without labels the folds are made by the ids alone, as the plain function makes them.
    assert_value(rows["block_0", "ridge_r2"], ridge_r2(WIDE, NARROW))
    for name in ("accuracy", "cross_entropy", "alignment", "margin", *labelled(WIDE)):
        assert rows["block_0", name].value is None
        assert rows["block_0", name].reason == "block_0 has no labels"


def test_inputs_are_a_reference(tmp_path: Path) -> None:
    images = WIDE.reshape(60, 1, 2, 3)
    layer = {"activations": NARROW}
    rows = values_of(by_hand(tmp_path / "x.h5", layer, labels=LABELS, inputs=images))
    for name, value in (unlabelled(WIDE) | labelled(WIDE)).items():
        assert_value(rows["input", name], value)
    without = values_of(by_hand(tmp_path / "y.h5", layer, labels=LABELS))
    assert {layer for layer, _ in without} == {"block_0"}
    assert without == {place: row for place, row in rows.items() if place[0] != "input"}


def test_one_layer_has_no_neighbours(tmp_path: Path) -> None:
    rows = values_of(by_hand(tmp_path / "x.h5", {"activations": WIDE}, labels=LABELS))
    assert rows["block_0", "linear_cka"].reason == "block_0 is the first layer"
    assert rows["block_0", "ridge_r2"].reason == "block_0 is the last layer"
    for name, value in labelled(WIDE).items():
        assert_value(rows["block_0", name], value)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (6, 1)])
def test_activations_of_more_dimensions_are_flattened(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    layers = ({"activations": WIDE.reshape(60, *shape), "anchors": ANCHORS},)
    flat = values_of(by_hand(tmp_path / "x.h5", *layers, labels=LABELS))
    assert_value(flat["block_0", "margin"], margin(WIDE, ANCHORS, LABELS))
    for name, value in unlabelled(WIDE).items():
        assert_value(flat["block_0", name], value)


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "<f8", ">f8", "g"])
def test_floating_point_numbers_of_any_type_will_do(tmp_path: Path, dtype: str) -> None:
    wide = WIDE.astype(dtype)
    rows = values_of(by_hand(tmp_path / "x.h5", {"activations": wide}, labels=LABELS))
    value = rows["block_0", "participation_ratio"].value
    assert value == pytest.approx(participation_ratio(WIDE), rel=2e-2 if dtype == "f2" else 1e-4)


def test_probes_follow_the_sample_ids(tmp_path: Path) -> None:
    ids = RNG.permutation(1000)[:60]
    layer = {"activations": WIDE}
    kept = values_of(by_hand(tmp_path / "x.h5", layer, labels=LABELS, sample_ids=ids))
    order = RNG.permutation(60)
    moved = values_of(
        by_hand(
            tmp_path / "y.h5",
            {"activations": WIDE[order]},
            labels=LABELS[order],
            sample_ids=ids[order],
        )
    )
    for name in labelled(WIDE):
        assert_value(moved["block_0", name], kept["block_0", name].value)


def test_samples_that_are_not_finite_leave_reasons(tmp_path: Path) -> None:
    broken = WIDE.copy()
    broken[3] = np.nan
    layers = ({"activations": broken, "anchors": ANCHORS}, {"activations": NARROW})
    path = by_hand(tmp_path / "x.h5", *layers, labels=LABELS)
    done = call(path, "--json", "--workers", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    rows = {(r["layer"], r["metric"]): r for r in json_lines(done.stdout) if not r["pair"]}
    for name in ("participation_ratio", "probe_accuracy", "alignment", "mutual_information"):
        assert rows["block_0", name]["value"] is None
        assert rows["block_0", name]["reason"]
    assert rows["block_1", "participation_ratio"]["value"] == pytest.approx(
        participation_ratio(NARROW), rel=1e-4
    )


@pytest.mark.parametrize("n", [1, 2, 3])
def test_very_few_samples_leave_reasons_or_the_plain_values(tmp_path: Path, n: int) -> None:
    layer = {"activations": WIDE[:n], "scores": SCORES[:n]}
    rows = values_of(by_hand(tmp_path / "x.h5", layer, labels=LABELS[:n]))
    assert rows["block_0", "accuracy"].value == pytest.approx(accuracy(SCORES[:n], LABELS[:n]))
    with pytest.raises(UndefinedError):
        participation_ratio(WIDE[:n])
    assert rows["block_0", "participation_ratio"].reason


def test_the_stored_configuration_selects_the_metrics(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.h5", {"activations": WIDE}, labels=LABELS)
    with h5py.File(path, "a") as file:
        file.attrs["run_id"] = "0001"
        file.attrs["config"] = "metrics: [margin, {name: eigenspectrum, label: e, top: 2}]\nnew: 1"
    rows = values_of(path)
    assert [metric for _, metric in rows] == ["margin", "e"]
    value = rows["block_0", "e"].value
    assert isinstance(value, tuple)
    assert len(value) == 2
    assert [m for _, m in values_of(path, metrics=["probe_accuracy"])] == ["probe_accuracy"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[3", "attribute config is not valid YAML"),
        ("- 3", "attribute config: expected `key: value` lines"),
        ("metrics: [acuracy]", "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("metrics: 3", "metrics: expected"),
        ("plugins: 3", "plugins: expected"),
        ("plugins: [3]", "plugins: [0]: expected a text"),
    ],
)
def test_a_stored_configuration_that_is_wrong_is_told(
    tmp_path: Path, config: str, message: str
) -> None:
    path = by_hand(tmp_path / "x.h5", {"activations": WIDE}, labels=LABELS)
    with h5py.File(path, "a") as file:
        file.attrs["run_id"] = "0001"
        file.attrs["config"] = config
    done = call(path, "--workers", 1)
    assert done.exit_code == 2, done.exception
    assert message in done.stderr


def test_the_configuration_of_another_program_selects_nothing(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.h5", {"activations": WIDE}, labels=LABELS)
    expected = list(values_of(path))
    with h5py.File(path, "a") as file:
        file.attrs["config"] = "metrics: [acc]\nplugins: ddp\nmargins: 3\non_plugin_error: skip"
    assert list(values_of(path)) == expected
    assert ("block_0", "probe_accuracy") in expected


def test_other_metrics_do_without_what_the_configuration_names(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.h5", {"activations": WIDE}, labels=LABELS)
    with h5py.File(path, "a") as file:
        file.attrs["run_id"] = "0001"
        file.attrs["config"] = "metrics: [gone]\nplugins: [gone.py]"
    assert call(path, "--metrics", "margin").exit_code == 0


# The command line


def test_a_table_has_a_line_for_each_metric(directory: Path) -> None:
    done = call(directory, "--workers", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    shown = [line.strip() for line in done.stdout.splitlines()]
    titles = [line for line in shown if ": val, epoch " in line]
    assert [title.split(": ")[1] for title in titles] == [
        f"val, epoch {epoch}, step {3 * epoch}" for epoch in (0, 1, 2)
    ]

    def cells(name: str) -> list[list[str]]:
        rows = (re.split(r" {2,}", line) for line in shown if line.startswith(f"{name} "))
        return [row[1:] for row in rows]

    heads = cells("metric")
    assert [sorted(head) for head in heads] == [["input", "layer_0", "layer_1", "layer_2"]] * 3
    logged = [entry for entry in lines(directory) if entry["phase"] == "val"]
    for head, row, entry in zip(heads, cells("accuracy"), logged, strict=True):
        values = {name: own["accuracy"] for name, own in entry["metrics"].items()}
        values["input"] = entry["reference"]["accuracy"]
        numbers = [float(cell.partition(" ± ")[0]) for cell in row]
        assert numbers == pytest.approx([values[name] for name in head], abs=6e-4)
        for number, cell in zip(numbers, row, strict=True):
            error = math.sqrt(number * (1 - number) / 143)
            told = float(cell.partition(" ± ")[2]) / t.ppf(0.975, 143)
            assert told == pytest.approx(error, abs=1e-3)
    assert [sorted(row) for row in cells("eigenspectrum")] == [["(12)"] * 3 + ["(64)"]] * 3
    assert [row[0] for row in cells("linear_cka")] == ["–"] * 3
    assert "– linear_cka (layer_0): layer_0 is the first layer" in shown


def test_json_has_the_documented_keys(directory: Path) -> None:
    done = call(directory, "--json", "--workers", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    records = json_lines(done.stdout)
    expected = [r for result in recompute([directory], workers=1) for r in result.records()]
    assert records == expected
    assert all(list(record) == KEYS for record in records)
    paths = sorted(map(str, (directory / "activations").iterdir()))
    assert list(dict.fromkeys(record["snapshot"] for record in records)) == paths
    assert {record["phase"] for record in records} == {"val"}
    assert [*dict.fromkeys((r["epoch"], r["step"]) for r in records)] == [(0, 0), (1, 3), (2, 6)]
    for record in records:
        assert (record["value"] is None) == (record["reason"] is not None)
        assert record["n"] == 144 or record["reason"]
        assert isinstance(record["value"], list | float | int | None)
        assert isinstance(record["pair"], bool)
    pairs = [r for r in records if r["pair"] and r["epoch"] == 0]
    assert len(pairs) == 9
    assert all(r["other"] for r in pairs)


def test_a_file_of_rows_has_what_json_prints(directory: Path, tmp_path: Path) -> None:
    records = json_lines(call(directory, "--json", "--workers", 1).stdout)
    done = call(directory, "--workers", 1, "--out", tmp_path / "rows.jsonl")
    assert done.exit_code == 0
    assert f"{len(records)} rows of 3 of 3 snapshots in " in done.stdout
    assert json_lines((tmp_path / "rows.jsonl").read_text()) == records
    assert call(directory, "--workers", 1, "--json", "--out", tmp_path / "rows.csv").exit_code == 0
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == KEYS
    for row, record in zip(rows, records, strict=True):
        value = record["value"]
        assert row["value"] == ("" if value is None else str(value))
        assert (row["layer"], row["metric"], row["n"]) == (
            record["layer"],
            record["metric"],
            str(record["n"]),
        )
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "rows.csv"}


def test_other_metrics_and_options_may_be_asked_for(directory: Path) -> None:
    text = "margin, {name: eigenspectrum, label: two, top: 2}, {name: eigenspectrum, top: 3}"
    done = call(directory, "--json", "--workers", 1, "--metrics", text)
    assert done.exit_code == 0
    records = json_lines(done.stdout)
    assert list(dict.fromkeys(r["metric"] for r in records)) == ["margin", "two", "eigenspectrum"]
    lengths = {r["metric"]: len(r["value"]) for r in records if r["metric"] != "margin"}
    assert lengths == {"two": 2, "eigenspectrum": 3}
    everything = call(directory, "--json", "--workers", 1, "--metrics", "all, no:margin")
    names = {record["metric"] for record in json_lines(everything.stdout)}
    assert "probe_accuracy" in names
    assert "margin" not in names


PLUGIN = """
from cmp_core import hookimpl, metric

@metric("mine", split="mean")
def mine(view):
    '''The first unit.'''
    {act}
    return view.activations[:, 0]

@hookimpl
def cmp_register_metrics(register):
    register(mine)
"""


def test_a_plugin_of_one_s_own_is_measured(directory: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(act="pass"))
    done = call(directory, "--json", "-p", plugin, "--metrics", "mine", "--workers", 1)
    assert done.exit_code == 0
    records = json_lines(done.stdout)
    assert {r["metric"] for r in records} == {"mine"}
    for record in records:
        with h5py.File(record["snapshot"]) as file:
            mean = file[f"layers/{record['layer']}/activations"][:, 0].mean()
        assert record["value"] == pytest.approx(float(mean), rel=1e-4, abs=1e-6)
    folder = call(directory, "--json", "--plugins-dir", tmp_path, "--workers", 1)
    names = list(dict.fromkeys(r["metric"] for r in json_lines(folder.stdout)))
    assert {"accuracy", "linear_cka", "eigenspectrum"} <= set(names)


def test_two_workers_give_the_same_rows_in_the_same_order(directory: Path) -> None:
    one = call(directory, "--json", "--workers", 1)
    two = call(directory, "--json", "--workers", 2)
    assert (two.exit_code, two.stdout) == (one.exit_code, one.stdout)


def test_workers_find_relative_paths_wherever_they_are(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        shutil.copytree(directory / "activations", tmp_path / name / "activations")
        monkeypatch.chdir(tmp_path / name)
        results = list(recompute(["activations"], workers=2))
        assert [result.error for result in results] == [None] * 3


def test_a_broken_file_among_good_ones_is_told(directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(directory, folder)
    torn = folder / "activations" / "step_00000003.h5"
    torn.write_bytes(torn.read_bytes()[:5000])
    done = call(folder, "--json", "--workers", 1)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: '{torn}' ")
    assert done.stderr.count("\n") == 1
    good = json_lines(call(directory, "--json", "--workers", 1).stdout)
    found = json_lines(done.stdout)
    for record in (*good, *found):
        record["snapshot"] = Path(record["snapshot"]).name
    assert found == [record for record in good if record["epoch"] != 1]
    table = call(folder, "--workers", 1)
    assert table.exit_code == 2
    assert table.stdout.count(": val, epoch") == 2
    assert "Traceback" not in table.output
    to_file = call(folder, "--workers", 1, "--out", tmp_path / "rows.jsonl")
    assert to_file.exit_code == 2
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == len(found)


def test_a_changed_file_is_not_measured(directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(next((directory / "activations").iterdir()).read_bytes())
    with h5py.File(path, "a") as file:
        file["layers/layer_0/activations"][0, 0] += 1
    done = call(path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "does not match content_sha256" in done.stderr


@pytest.mark.parametrize("act", ["raise ValueError('no')", "exit(4)", "view.activations.zero_()"])
def test_a_plugin_that_raises_costs_its_own_rows(directory: Path, tmp_path: Path, act: str) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(act=act))
    metrics = "accuracy, linear_cka, eigenspectrum"
    good = json_lines(call(directory, "--json", "--workers", 1).stdout)
    arguments = (directory, "--json", "-p", plugin, "--workers", 1)
    done = call(*arguments, "--metrics", f"{metrics}, mine")
    assert done.exit_code == 3
    assert "warning: plugin metric:mine raised in cmp_layer_activations: " in done.stderr
    assert done.stderr.count("\n") == 1
    records = json_lines(done.stdout)
    assert [record for record in records if record["metric"] != "mine"] == good
    bad = [record for record in records if record["metric"] == "mine"]
    assert len(bad) == 9
    assert all(record["reason"].startswith("error: ") for record in bad)


def test_a_plugin_that_is_only_warned_about_is_no_failure(directory: Path, tmp_path: Path) -> None:
    """As in a run: the exit code 3 says that a plugin was switched off."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(PLUGIN.format(act="raise ValueError('no')"))
    config = {"plugins": [str(plugin)], "metrics": ["mine"], "on_plugin_error": "warn"}
    path = by_hand(tmp_path / "x.h5", {"activations": WIDE})
    with h5py.File(path, "a") as file:
        file.attrs["run_id"] = "0001"
        file.attrs["config"] = json.dumps(config)
    done = call(path, "-p", plugin)
    assert done.exit_code == 0
    assert "raised in cmp_layer_activations: ValueError: no" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["empty"], "'empty' holds no snapshot: there is no .h5 file in it"),
        (["none"], "'none' does not exist; expected a run, a folder or a snapshot"),
        (["x.h5", "none"], "'none' does not exist"),
        (["x.h5", "--out", "rows.txt"], "--out: expected a name that ends in .jsonl or .csv, got"),
        (["x.h5", "--out", "none/rows.csv"], "none"),
        (["x.h5", "--metrics", "acuracy"], "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        (["x.h5", "--metrics", "{name: margin, x: 1}"], "metric 'margin': unknown option 'x'"),
        (["x.h5", "--metrics", "[margin"], "--metrics is not valid YAML"),
        (["x.h5", "-p", "none.py"], "-p none.py: there is no such file"),
        (["x.h5", "--plugins-dir", "none"], "--plugins-dir: 'none' is not a folder"),
        (["x.h5", "--workers", "0"], "--workers"),
        ([], "missing argument"),
        (["text.h5"], "'text.h5' cannot be read"),
    ],
)
def test_wrong_input_is_told_and_writes_nothing(arguments: list[str], message: str) -> None:
    here = Path()
    by_hand(here / "x.h5", {"activations": WIDE}, labels=LABELS)
    (here / "empty").mkdir()
    (here / "text.h5").write_text("not at all")
    before = set(here.iterdir())
    done = call(*arguments)
    assert done.exit_code == 2, done.exception
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert set(here.iterdir()) == before


def test_snapshots_are_found_once_and_in_the_order_of_training(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "activations"
    folder.mkdir(parents=True)
    for step in (9, 10, 100):
        (folder / f"step_{step}.h5").write_text("")
    (tmp_path / "run" / "activations" / "notes.txt").write_text("")
    (tmp_path / "run" / ".snapshot.h5").write_text("")
    expected = [folder / f"step_{step}.h5" for step in (9, 10, 100)]
    assert find_snapshots([tmp_path / "run"]) == expected
    assert find_snapshots([folder]) == expected
    assert find_snapshots([expected[2], str(folder), tmp_path / "run"]) == [
        expected[2],
        *expected[:2],
    ]
    assert find_snapshots([tmp_path]) == expected
    with pytest.raises(UsageError, match="does not exist"):
        find_snapshots([folder, tmp_path / "none"])


def test_names_with_odd_digits_are_found(tmp_path: Path) -> None:
    for name in ("a1²3.h5", "a1b3.h5"):
        (tmp_path / name).write_text("")
    assert len(find_snapshots([tmp_path])) == 2


def test_a_run_without_metrics_can_be_measured_later(make: Make) -> None:
    directory = make(metrics=(), epochs=1)
    assert call(directory, "--workers", 1).exit_code == 0
    assert call(directory, "--workers", 1, "--json").stdout == ""
    later = call(directory, "--workers", 1, "--json", "--metrics", "accuracy")
    assert len(json_lines(later.stdout)) == 2 * 4


def test_nothing_is_left_behind_or_changed(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert call(directory, "--workers", 1).exit_code == 0
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "expected at least one run, folder or snapshot"),
        ("mine.h5", r"expected a sequence of paths, got 'mine.h5': write \['mine.h5'\]"),
        (["mine.h5"], "'mine.h5' does not exist"),
    ],
)
def test_what_is_no_path_is_told(paths: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        recompute(paths)
