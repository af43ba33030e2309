"""What pictures say of themselves: scales, bands and intervals, weights, and what may share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmp_core.errors import UsageError
from cmp_core.plotting.plot import Plot, PlotView, select_plots
from cmp_core.plotting.render import figure_of, tasks
from cmp_core.plugins.loader import load_plugins
from cmp_core.runs.record import RunRecord, load_run
from cmp_core.runs.replicates import RunSet
from cmp_plots._cells import in_digits
from tests.synthetic_runs import write_run

PLOTS = {plot.label: plot for plot in select_plots(load_plugins(built_ins=("cmp_plots",)))}
DEPTH = 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """A greedy run and an MLP, two seeds of each."""
    folder = tmp_path_factory.mktemp("models")
    both = [(model, seed) for model in ("greedy", "mlp") for seed in range(2)]
    return RunSet(tuple(load_run(written(folder, model=m, seed=seed)) for m, seed in both))


METRICS = {"accuracy", "margin", "gaussian_entropy", "probe_accuracy", "participation_ratio"}
METRICS |= {"linear_cka"}


def written(folder: Path, **options: Any) -> Path:
    """Write a run of few metrics: their panels are what takes time."""
    directory = write_run(folder, depth=DEPTH, **options)
    for name in ("log.jsonl", "test_results.json"):
        lines = (directory / name).read_text().splitlines()
        kept = [json.loads(line, object_hook=_with_few_metrics) for line in lines]
        (directory / name).write_text("".join(json.dumps(line) + "\n" for line in kept))
    return directory


def _with_few_metrics(part: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in part.items() if k in METRICS or "margin" not in part}


def only(runs: RunSet, count: int) -> RunSet:
    return RunSet(runs.runs[:count])


@contextmanager
def picture(kind: str, runs: RunSet, **options: Any) -> Iterator[Figure]:
    plot: Plot = PLOTS[kind].definition(**options)
    (view,) = plot.views(runs)
    with figure_of(plot, view) as figure:
        yield figure


def key(figure: Figure) -> set[str]:
    return {text.get_text() for one in figure.subfigs[0].legends for text in one.get_texts()}


def rewritten(directory: Path, change: Any) -> RunRecord:
    """A run whose lines were changed at all ends of epochs."""
    log = directory / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["phase"] == "val":
            change(line)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return load_run(directory)


# Bands and bars

BAND, BARS = "range over runs (min–max)", "95 % interval"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("training_curves", {}),
        ("overview", {}),
        ("train_val", {"metric": "margin"}),
        ("timeline", {"metric": "margin", "layer": "layer_1"}),
        ("multi_run", {"metric": "margin", "layer": "layer_1"}),
    ],
)
def test_a_band_is_named_where_there_is_one(
    models: RunSet, kind: str, options: dict[str, Any]
) -> None:
    with picture(kind, only(models, 2), **options) as figure:
        assert any(axes.collections for axes in figure.axes)
        assert BAND in key(figure)
        assert BARS not in key(figure)
    if kind != "multi_run":
        with picture(kind, only(models, 1), **options) as figure:
            assert BAND not in key(figure)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("architecture_comparison", {"metric": "accuracy"}),
        ("layer_progression", {}),
        ("differences", {}),
        ("research_questions", {}),
    ],
)
def test_intervals_are_named_where_there_are_any(
    models: RunSet, kind: str, options: dict[str, Any]
) -> None:
    with picture(kind, models, **options) as figure:
        assert any(axes.containers for axes in figure.axes)
        assert BARS in key(figure)
        assert BAND not in key(figure)


def test_a_question_alone_names_its_intervals(models: RunSet) -> None:
    view = PlotView(only(models, 2), question="predictive")
    with figure_of(PLOTS["research_questions"], view) as figure:
        (axes,) = figure.axes
        assert BARS in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_value_without_an_error_has_no_bar(tmp_path: Path) -> None:
    directory = written(tmp_path)
    (directory / "test_influences.npz").unlink()
    results = directory / "test_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"errors": {}}))
    with picture("research_questions", RunSet((load_run(directory),))) as figure:
        assert not any(axes.containers for axes in figure.axes)
        assert BARS not in key(figure)


def test_boxes_are_explained_and_few_values_are_dots(models: RunSet) -> None:
    with picture("distributions", only(models, 2)) as figure:  # eight values each
        assert {"median", "middle half", "at most 1.5 boxes further"} == key(figure)
    with picture("distributions", only(models, 1)) as figure:  # four
        assert key(figure) == {"one epoch of a run"}
        assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [4, 4]


# Scales


def test_no_value_of_0_or_1_is_moved(tmp_path: Path) -> None:
    def change(line: dict[str, Any]) -> None:
        for metrics in line["metrics"].values():
            metrics["accuracy"] = 1.0 if line["epoch"] == 4 else metrics["accuracy"]

    runs = RunSet((rewritten(written(tmp_path), change),))
    with picture("overview", runs) as figure:
        axes = next(one for one in figure.axes if one.get_title(loc="left") == "accuracy")
        assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "fraction")
    with picture("heatmap", runs, metric="accuracy") as figure:
        bar = figure.axes[1]
        assert (bar.get_yscale(), bar.get_ylabel()) == ("linear", "accuracy\n(fraction)")
        assert figure.axes[0].texts[4].get_text() == "1.000"


def test_an_axis_and_a_colour_bar_say_that_they_are_not_linear(tmp_path: Path) -> None:
    def change(line: dict[str, Any]) -> None:
        for metrics in line["metrics"].values():
            wrong, loss = 0.9 * 4.0 ** -line["epoch"], 10.0 ** -line["epoch"]
            metrics |= {"accuracy": 1 - wrong, "cross_entropy": loss}

    runs = RunSet((rewritten(written(tmp_path), change),))
    for metric, told in (
        ("accuracy", "accuracy (fraction, logit scale)"),
        ("cross_entropy", "cross_entropy (nats, log scale)"),
    ):
        with picture("heatmap", runs, metric=metric) as figure:
            assert " ".join(figure.axes[1].get_ylabel().split()) == told
        with picture("layerwise", runs, metric=metric) as figure:
            assert " ".join(figure.axes[0].get_ylabel().split()) == told


def test_an_interval_beyond_1_makes_the_axis_linear(tmp_path: Path) -> None:
    directory = written(tmp_path)

    def change(line: dict[str, Any]) -> None:
        line["errors"] = {layer: {"accuracy": 0.2} for layer in line["metrics"]}

    for change_errors, scale in ((lambda line: None, "logit"), (change, "linear")):
        run = rewritten(directory, change_errors)
        with picture("layerwise", RunSet((run,)), metric="accuracy") as figure:
            axes = figure.axes[0]
            assert axes.get_yscale() == scale
    segments = np.concatenate(axes.containers[0][2][0].get_segments())
    low, high = axes.get_ylim()
    assert low <= segments[:, 1].min()
    assert segments[:, 1].max() <= high  # nothing is cut off


# What may share an axis


def shares(first: Axes, second: Axes) -> bool:
    return first.get_shared_y_axes().joined(first, second)


def test_models_of_other_scales_share_neither_axis_nor_colours(models: RunSet) -> None:
    for metric, together in (("margin", False), ("probe_accuracy", True)):
        with picture("layerwise", models, metric=metric) as figure:
            assert shares(*figure.axes) is together
        with picture("timeline", models, metric=metric, layer="layer_1") as figure:
            assert shares(*figure.axes) is together
        with picture("train_val", models, metric=metric) as figure:
            greedy, validated, _, mlp, *_ = figure.axes
            assert (shares(greedy, validated), shares(greedy, mlp)) == (True, together)
        with picture("heatmap", models, metric=metric) as figure:
            assert len([axes for axes in figure.axes if axes.images]) == (1 if together else 2)


def test_losses_of_models_of_another_kind_have_panels_of_their_own(models: RunSet) -> None:
    with picture("training_curves", models) as figure:
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        assert titles == ["loss, greedy", "loss, mlp", "accuracy"]
        assert [len(axes.lines) for axes in figure.axes] == [2, 2, 4]


def test_the_input_is_drawn_where_it_is_on_the_scale_of_layers(models: RunSet) -> None:
    for metric, is_there in (("margin", False), ("gaussian_entropy", False), ("accuracy", True)):
        with picture("architecture_comparison", models, metric=metric) as figure:
            dashed = [x for axes in figure.axes for x in axes.lines if x.get_linestyle() == "--"]
            assert (len(dashed) > 0, "input" in key(figure)) == (is_there, is_there)
    with picture("layer_progression", models) as figure:
        dashed = {
            axes.get_title(loc="left").partition(",")[0]
            for axes in figure.axes
            if any(line.get_linestyle() == "--" for line in axes.lines)
        }
        assert dashed == {"accuracy", "probe_accuracy", "participation_ratio", "linear_cka"}


# Numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.95, 0.955, 1.0], "0.950 0.955 1.000"),
        ([-0.5, 2.0, 11.25], "−0.5 2.0 11.2"),
        ([120.0, 4.0], "120 4"),
        ([0.012, 0.0034], "0.0120 0.0034"),
        ([1e-4, 0.5, 20.0, 3e6], "1e−04 0.500 20.0 3e+06"),
        ([0.0, -0.0], "0 0"),
        ([-0.0001, 0.5, 0.4, 0.3], "0.000 0.500 0.400 0.300"),
    ],
)
def test_numbers_of_a_picture_have_the_same_decimals(values: list[float], expected: str) -> None:
    assert in_digits(np.array(values)).tolist() == expected.split()


def test_there_is_one_kind_of_minus(models: RunSet) -> None:
    for kind in ("correlation", "metrics_heatmap"):
        with picture(kind, models) as figure:
            shown = [text.get_text() for axes in figure.axes for text in axes.texts]
            assert any("−" in text for text in shown)
            assert not any("-" in text for text in shown)


# Metrics of pairs of one's own


def distances(line: dict[str, Any]) -> None:
    line["pairs"]["geodesic"] = [[0.0, 0.25], [0.25, 0.0]]
    line["pairs"]["linear_cka_chance"] = [[0.1, 0.1], [0.1, 0.1]]  # a further value of a metric


def test_any_metric_of_pairs_is_drawn_into_a_file_of_its_own(tmp_path: Path) -> None:
    runs = RunSet((rewritten(written(tmp_path), distances),))
    cka = PLOTS["cka_matrix"]
    found = {task.plot.file_name(task.view): task.view for task in tasks([cka], runs)}
    assert list(found) == ["cka_matrix_val", "cka_matrix_geodesic_val"]
    with picture("cka_matrix", runs, metric="geodesic") as figure:
        panels = [axes for axes in figure.axes if axes.images]
        assert np.asarray(panels[0].images[0].get_array()).tolist() == [[0, 0.25], [0.25, 0]]
        assert [text.get_text() for text in panels[0].texts[:2]] == ["0.000", "0.250"]
        assert figure.axes[-1].get_ylabel() == "geodesic"
    (further,) = cka.definition(metric="linear_cka_chance").views(runs)
    assert cka.file_name(further) == "cka_matrix_linear_cka_chance_val"
    wrong = cka.definition(metric="margin")
    with pytest.raises(UsageError, match="unknown metric of pairs of layers 'margin'; known: "):
        list(wrong.views(runs))
    everything = cka.with_what_it_takes({"metric": "margin", "phase": "test"})
    assert everything.options == {"phase": "test"}


def test_the_tested_epoch_is_shown_and_named_among_many(tmp_path: Path) -> None:
    directory = written(tmp_path)
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    last = lines[-1]
    more = [last | {"epoch": epoch} for epoch in range(5, 60)]
    (directory / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in (*lines, *more)))
    results = directory / "test_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | {"epoch": 41}))
    runs = RunSet((load_run(directory),))
    with picture("layerwise", runs, metric="margin") as figure:
        assert "epoch 41 (tested)" in key(figure)
        assert not math.isnan(figure.axes[0].lines[-1].get_ydata()[0])
    with picture("metrics_heatmap", runs) as figure:
        assert figure.subfigs[0].get_suptitle().endswith("weights of epoch 41")
