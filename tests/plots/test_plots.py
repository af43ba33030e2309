"""Known answers of the built-in plots: what their artists hold, against the files of the runs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import FuncNorm, LogNorm, Normalize, SymLogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cmp_core.analysis.comparison import compare
from cmp_core.analysis.questions import QUESTIONS, answer
from cmp_core.errors import UndefinedError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.plotting.plot import Plot, PlotView
from cmp_core.plotting.render import figure_of
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.record import RunRecord, load_run
from cmp_core.runs.replicates import RunSet
from cmp_plots._cells import in_digits
from cmp_plots._scales import colour_scale, set_scale
from cmp_plots._style import _some, key_layout, layer_colours, literal, name_ticks
from tests.run_files import lines
from tests.synthetic_runs import write_old_run, write_run

REGISTRY = load_plugins(built_ins=("cmp_plots",)).registry

Runs = tuple[RunRecord, ...]
DEPTH = 3
LAYERS = [f"layer_{i}" for i in range(DEPTH)]


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three seeds of one experiment."""
    folder = tmp_path_factory.mktemp("greedy")
    return tuple(load_run(write_run(folder, depth=DEPTH, seed=seed)) for seed in range(3))


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return load_run(write_run(tmp_path_factory.mktemp("mlp"), model="mlp", depth=DEPTH))


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return with_installed_metric_info(
        load_run(write_old_run(tmp_path_factory.mktemp("old"), depth=DEPTH))
    )


@contextmanager
def picture(kind: str, *runs: RunRecord, **options: Any) -> Iterator[Figure]:
    """The only figure of a plot with these options."""
    plot: Plot = definition_of(REGISTRY.get("plot", kind).factory, "plot")(**options)
    (view,) = plot.views(RunSet(runs))
    with figure_of(plot, view) as figure:
        yield figure


@pytest.fixture
def axes() -> Iterator[Axes]:
    figure, axes = plt.subplots(figsize=(4, 3), dpi=100)
    yield axes
    plt.close(figure)


def changed(folder: Path, seed: int = 0, **parts: Any) -> RunRecord:
    """A run of two layers with other parts of the lines at the ends of epochs."""
    directory = write_run(folder, depth=2, seed=seed)
    log = directory / "log.jsonl"
    contents = [json.loads(line) for line in log.read_text().splitlines()]
    lines_of_epochs = [x | parts if x["phase"] == "val" else x for x in contents]
    log.write_text("\n".join(map(json.dumps, lines_of_epochs)))
    results = directory / "test_results.json"
    results.write_text(json.dumps(json.loads(results.read_text()) | parts))
    return load_run(directory)


def logged(run: RunRecord, phase: str) -> list[dict[str, Any]]:
    return [line for line in lines(run.directory) if line["phase"] == phase]


def values(
    runs: Sequence[RunRecord], metric: str, key: str = "metrics", layers: Sequence[str] = LAYERS
) -> NDArray[np.float64]:
    """A metric at the ends of epochs (runs, layers, epochs), read from the logs."""
    return np.array(
        [[[x[key][k][metric] for x in logged(run, "val")] for k in layers] for run in runs]
    )


def in_test(runs: Sequence[RunRecord], metric: str, layers: Sequence[str]) -> NDArray[np.float64]:
    """A metric of the tested weights on the test split (runs, layers), read from the results."""
    found = [json.loads((run.directory / "test_results.json").read_text()) for run in runs]
    return np.array([[one["metrics"][layer][metric] for layer in layers] for one in found])


def heights(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


def y_of(axes: Axes) -> list[list[float]]:
    """The heights of all lines."""
    return [heights(line) for line in axes.lines]


def by_title(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def key(figure: Figure) -> list[str]:
    """The names in the key above the axes."""
    (legend,) = figure.subfigs[0].legends
    return [text.get_text() for text in legend.get_texts()]


def tick_names(axis: Axis) -> list[str]:
    """The names of the ticks within the limits."""
    low, high = sorted(axis.get_view_interval())
    ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
    return [name.get_text() for place, name in ticks if low <= place <= high]


def bands(axes: Axes) -> list[NDArray[np.float64]]:
    """The lowest and the highest of each band at each x, (2, k)."""
    found = []
    for band in axes.collections:
        corners = band.get_paths()[0].vertices
        at = np.unique(corners[:, 0])
        ends = [corners[corners[:, 0] == x, 1] for x in at]
        found.append(np.array([[column.min() for column in ends], [c.max() for c in ends]]))
    return found


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def cells(axes: Axes) -> NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(axes.images[0].get_array(), dtype=float), np.nan)


def close(found: ArrayLike, expected: ArrayLike) -> bool:
    return bool(np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True))


# Over time


def test_training_curves_are_means_over_the_batches_of_an_epoch(greedy: Runs) -> None:
    with picture("training_curves", greedy[0]) as figure:
        batches, epochs = logged(greedy[0], "train"), logged(greedy[0], "val")
        for axes, trained, validated in zip(
            figure.axes, ("loss", "acc"), ("val_loss", "acc"), strict=True
        ):
            first, second = axes.lines
            expected = [
                np.mean([x[trained] for x in batches if x["epoch"] == epoch])
                for epoch in (1, 2, 3, 4)
            ]
            assert first.get_xdata().tolist() == [1, 2, 3, 4]
            assert close(heights(first), expected)
            assert second.get_xdata().tolist() == [0, 1, 2, 3, 4]
            assert heights(second) == [x[validated] for x in epochs]


def test_replicates_are_drawn_as_their_mean_and_range(greedy: Runs) -> None:
    with picture("multi_run", *greedy, metric="margin", layer="layer_1") as figure:
        (axes,) = figure.axes
        runs = values(greedy, "margin")[:, 1]
        assert close(y_of(axes)[:4], [runs.mean(axis=0), *runs])
        assert close(bands(axes), [[runs.min(axis=0), runs.max(axis=0)]])


def test_experiments_are_not_averaged_together(greedy: Runs, mlp: RunRecord) -> None:
    with picture("multi_run", greedy[0], mlp, metric="accuracy", layer="layer_1") as figure:
        assert close(y_of(figure.axes[0]), values([greedy[0], mlp], "accuracy")[:, 1])
        assert key(figure) == ["greedy", "mlp"]


def test_train_val_has_the_gap_of_training_less_validation(greedy: Runs) -> None:
    with picture("train_val", greedy[0], metric="cross_entropy") as figure:
        train = values(greedy[:1], "cross_entropy", "train_metrics")[0]
        val = values(greedy[:1], "cross_entropy")[0]
        for axes, expected in zip(figure.axes, (train, val, train - val), strict=True):
            assert close(y_of(axes)[:DEPTH], expected)
        assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_the_gap_of_older_logs_is_said_to_be_that_of_batch_means(old: RunRecord) -> None:
    with picture("train_val", old, metric="probe_accuracy") as figure:
        trained, _, gap = figure.axes
        assert trained.get_title(loc="left") == "training batches (mean)"
        assert close(heights(trained.lines[0]), [0.5, 0.5])
        assert close(heights(gap.lines[0]), [-0.1, -0.1])


def test_the_overview_has_a_panel_per_metric_and_a_line_per_layer(greedy: Runs) -> None:
    with picture("overview", greedy[0]) as figure:
        panels = by_title(figure)
        assert list(panels) == list(greedy[0].headlines)
        for metric, layers in (("label_information", LAYERS), ("linear_cka", LAYERS[1:])):
            assert close(y_of(panels[metric]), values(greedy[:1], metric, layers=layers)[0])
        assert panels["cross_entropy"].get_ylabel() == "nats, log scale"


def test_the_overview_of_experiments_takes_the_last_layer_without_a_head(
    greedy: Runs, mlp: RunRecord
) -> None:
    with picture("overview", greedy[0], mlp) as figure:
        expected = values([greedy[0], mlp], "accuracy")[:, -1]
        assert close(y_of(by_title(figure)["accuracy"]), expected)


def test_the_timeline_has_a_running_mean_of_the_mean_over_seeds(greedy: Runs) -> None:
    with picture("timeline", *greedy, metric="accuracy", layer="layer_1") as figure:
        points, running, validated, subset = figure.axes[0].lines
        measured = [
            {x["step"]: x["metrics"]["layer_1"]["accuracy"] for x in train if "metrics" in x}
            for train in (logged(run, "train") for run in greedy)
        ]
        steps = sorted(measured[0])
        assert steps == list(range(4, 49, 4))
        drawn = {x: y for x, y in zip(steps, heights(running), strict=True) if math.isfinite(y)}
        assert list(drawn) == [20, 24, 28, 32]  # nine batches wide, so 16 steps to either side
        for step, mean in drawn.items():
            within = [run[x] for run in measured for x in steps if abs(x - step) <= 16]
            assert mean == pytest.approx(np.mean(within), abs=1e-12)
        assert sorted(heights(points)) == sorted(v for run in measured for v in run.values())
        for line, split in ((validated, "metrics"), (subset, "train_metrics")):
            assert close(heights(line), values(greedy, "accuracy", split)[:, 1].mean(axis=0))
        assert validated.get_xdata().tolist() == [0, 12, 24, 36, 48]
        assert key(figure) == [
            "training batches (n = 32)",
            "validation (n = 150)",
            "training subset (n = 150)",
            "running mean of batches (± 16 steps)",
            "range over runs (min–max)",
        ]


def test_the_timeline_tells_that_not_all_batches_are_drawn(
    greedy: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_plots.timeline._MOST_POINTS", 12)
    with picture("timeline", *greedy, metric="accuracy", layer="layer_1") as figure:
        points, running, *_ = figure.axes[0].lines
        batches = 12 * len(greedy)
        assert len(heights(points)) == 12
        assert key(figure)[0] == f"training batches (n = 32, one in {batches // 12} drawn)"
        assert sum(map(math.isfinite, heights(running))) == 4  # the mean is of all of them


def test_boxes_are_of_trained_weights(greedy: Runs) -> None:
    with picture("distributions", *greedy) as figure:
        drawn = by_title(figure)["margin"].lines
        medians = [heights(line)[0] for line in drawn if line.get_linewidth() == 2]
        assert close(medians, np.median(values(greedy, "margin")[..., 1:], axis=(0, 2)))


def test_the_timeline_tells_how_linear_fits_score(tmp_path: Path) -> None:
    run = write_run(tmp_path, depth=DEPTH)
    lines_of = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in lines_of:
        half = {layer: {"probe_accuracy": 0.5} for layer in LAYERS}
        fit = {"source": "training", "n": 900, "half": half}
        line |= {"fit": fit, "train_fit": fit} if line["phase"] == "val" else {}
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines_of))
    with picture("timeline", load_run(run), metric="probe_accuracy") as figure:
        batches, *splits, _ = key(figure)
        assert batches == "training batches (n = 32, ridge in folds)"
        assert [name.partition("(")[2] for name in splits] == ["n = 150, fitted to 900)"] * 2
    with picture("timeline", load_run(run), metric="margin") as figure:
        assert not any("fitted" in name or "ridge" in name for name in key(figure))


# Over depth


def test_layerwise_has_the_layers_at_each_epoch(greedy: Runs) -> None:
    with picture("layerwise", *greedy, metric="margin") as figure:
        found = figure.axes[0].lines[:5]
        assert close([heights(x) for x in found], values(greedy, "margin").mean(axis=0).T)
        assert key(figure) == ["untrained", "epoch 1", "epoch 2", "epoch 3 (tested)", "epoch 4"]
        assert [line.get_linestyle() for line in found] == [":", "-", "-", "-", "-"]


def results_of(run: RunRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.directory / "test_results.json").read_text())
    return found


def test_layers_are_compared_in_the_test_with_intervals(greedy: Runs, mlp: RunRecord) -> None:
    metric, layers = "label_information", [*LAYERS, "head"]
    with picture("architecture_comparison", *greedy, mlp, metric=metric) as figure:
        drawn = figure.axes[0].lines
        trained, other = (heights(line) for line in drawn if line.get_marker() == "o")
        untrained, other_untrained = (heights(x) for x in drawn if x.get_linestyle() == ":")
        assert close(trained, in_test(greedy, metric, LAYERS).mean(axis=0))
        before = [results_of(run)["untrained"]["metrics"] for run in (*greedy, mlp)]
        first = [[own[layer][metric] for layer in LAYERS] for own in before[:-1]]
        assert close(untrained[:4], np.mean(first, axis=0))
        assert close(other, in_test([mlp], metric, layers)[0])
        assert close(other_untrained, [before[-1][layer][metric] for layer in layers])
        level = next(heights(x) for x in figure.axes[0].lines if x.get_linestyle() == "--")
        of_inputs = [results_of(run)["reference"][metric] for run in (*greedy, mlp)]
        assert close(level[0], np.mean([np.mean(of_inputs[:-1]), of_inputs[-1]]))
        _, bars = figure.axes[0].containers
        ends = np.array([segment[:, 1] for segment in bars[2][0].get_segments()])
        errors = [results_of(mlp)["errors"][layer][metric] for layer in layers]
        assert np.allclose((ends[:, 1] - ends[:, 0]) / 2, 1.972 * np.array(errors), rtol=0.01)


def test_metrics_on_different_scales_have_panels_of_their_own(greedy: Runs, mlp: RunRecord) -> None:
    for name, options in (("architecture_comparison", {}), ("multi_run", {"layer": "layer_1"})):
        for metric, count in (("margin", 2), ("probe_accuracy", 1)):
            with picture(name, greedy[0], mlp, metric=metric, **options) as figure:
                assert len(figure.axes) == count
    for name in ("layer_progression", "overview", "distributions"):
        with picture(name, greedy[0], mlp) as figure:
            titles = set(by_title(figure))
            assert {"margin, greedy", "margin, mlp", "probe_accuracy"} < titles


def test_differences_have_the_intervals_of_the_comparison(greedy: Runs, mlp: RunRecord) -> None:
    with picture("differences", greedy[0], mlp) as figure:
        axes = by_title(figure)["probe_accuracy"]
        (found,) = compare(RunSet((greedy[0], mlp)))
        shown = [one for one in found.by_layer if one.metric == "probe_accuracy"]
        segments = axes.containers[0][2][0].get_segments()
        for one, segment in zip(shown, segments, strict=True):
            assert close(segment[:, 1], [100 * end for end in one.estimate.interval])
        markers = [line for line in axes.lines if line.get_marker() == "o"]
        filled = [line.get_markerfacecolor() == line.get_color() for line in markers]
        assert filled == [one.p < 0.05 for one in shown]
        assert "margin" not in by_title(figure)


def test_replicates_alone_are_no_comparison_of_models(greedy: Runs) -> None:
    comparison = picture("architecture_comparison", *greedy, metric="margin")
    with pytest.raises(UndefinedError, match="the runs differ by seed alone"):
        comparison.__enter__()


def test_the_progression_says_only_what_is_drawn(greedy: Runs, old: RunRecord) -> None:
    with picture("layer_progression", old) as figure:
        assert key(figure) == ["mlp"]
    with picture("layer_progression", greedy[0]) as figure:
        assert key(figure) == ["greedy", "untrained", "input", "95 % interval"]
        drawn = heights(by_title(figure)["margin"].lines[0])
        assert close(drawn, in_test(greedy[:1], "margin", LAYERS)[0])


def test_the_questions_have_the_short_verdicts_of_the_answers(greedy: Runs, mlp: RunRecord) -> None:
    with picture("research_questions", *greedy, mlp) as figure:
        titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
        assert titles == [
            f"{name}: {QUESTIONS[question]} {answer(runs, question).short_verdict}"
            for name, runs in (("greedy", greedy), ("mlp", [mlp]))
            for question in QUESTIONS
        ]


def test_compression_is_drawn_relative_to_the_first_layer(greedy: Runs) -> None:
    with picture("research_questions", *greedy) as figure:
        drawn = {x.get_label(): heights(x) for axes in figure.axes[1:] for x in axes.lines}
        tested = in_test(greedy, "participation_ratio", LAYERS)
        assert close(drawn["participation_ratio"], np.exp(np.log(tested / tested[:, :1]).mean(0)))
        similarity = in_test(greedy, "linear_cka", LAYERS[1:])
        assert close(drawn["linear_cka"], 1 - similarity.mean(axis=0))


def test_an_input_without_information_has_no_place_on_a_logarithmic_axis(tmp_path: Path) -> None:
    references = {"within_class_variance": 0.0, "participation_ratio": 20.0}
    with picture("research_questions", changed(tmp_path, reference=references)) as figure:
        axes = figure.axes[1]
        levels = [heights(line)[:1] for line in axes.lines if line.get_linestyle() == "--"]
        (first,) = (x for x in axes.lines if x.get_label() == "participation_ratio")
        assert heights(first)[0] == 1
        assert len(levels) == 2  # one of them stands for all in the key
        assert 0.4 < levels[0][0] < 0.6  # the first layer has about 41 directions
        assert levels[1] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_alone_has_no_title(greedy: Runs, question: str) -> None:
    plot = definition_of(REGISTRY.get("plot", "research_questions").factory, "plot")()
    with figure_of(plot, PlotView(RunSet(greedy), question=question)) as figure:
        (axes,) = figure.axes
        assert axes.get_title(loc="left") == ""
        assert axes.get_legend() is not None


def test_a_spectrum_is_shares_of_its_sum(greedy: Runs) -> None:
    with picture("eigenspectrum", *greedy) as figure:
        for axes, epoch in zip(figure.axes, (0, 3), strict=True):
            vectors = logged(greedy[0], "val")[epoch]["vectors"]
            expected = np.array([vectors[layer]["eigenspectrum"] for layer in LAYERS])
            drawn = [y for y in y_of(axes) if y]
            assert close(drawn, expected / expected.sum(axis=1, keepdims=True))


def test_equal_eigenvalues_are_drawn_as_equal(tmp_path: Path) -> None:
    values = [1.0, 1 + 2**-52, 1 - 2**-52, 1.0]
    spectra = {f"layer_{i}": {"eigenspectrum": values} for i in range(2)}
    with picture("eigenspectrum", changed(tmp_path, vectors=spectra)) as figure:
        low, high = figure.axes[0].get_ylim()
        assert low < 0.026
        assert 0.25 < high < 1
        assert tick_names(figure.axes[0].xaxis)[:2] == ["1", "2"]


# Cells


def test_a_heatmap_of_one_run_is_over_epochs(greedy: Runs) -> None:
    with picture("heatmap", greedy[0], metric="margin") as figure:
        axes = figure.axes[0]
        (expected,) = values(greedy[:1], "margin")
        assert close(cells(axes), expected)
        assert texts(axes) == in_digits(expected).ravel().tolist()
        assert tick_names(axes.xaxis) == list("01234")
        assert tick_names(axes.yaxis) == list("012")


def test_a_heatmap_of_several_runs_is_at_the_tested_weights(greedy: Runs, mlp: RunRecord) -> None:
    with picture("heatmap", greedy[1], mlp, metric="linear_cka") as figure:
        axes = figure.axes[0]
        first = values([greedy[1]], "linear_cka", layers=LAYERS[1:])[0, :, 3]
        second = values([mlp], "linear_cka", layers=[*LAYERS[1:], "head"])[0, :, 3]
        assert close(cells(axes).T, [[*first, math.nan], second])
        # The first layer has no layer before it.
        assert tick_names(axes.yaxis) == ["1", "2", "head"]


def test_the_confusions_of_replicates_are_summed(greedy: Runs) -> None:
    with picture("confusion", *greedy, normalize=False) as figure:
        axes = figure.axes[0]
        counts = sum(np.load(run.directory / "confusion.npy") for run in greedy)
        assert texts(axes) == [str(count) for count in counts.ravel() if count]
        shares = cells(axes) ** 2
        assert close(shares.sum(axis=1), np.ones(10))
        assert close(shares, counts / counts.sum(axis=1, keepdims=True))


def test_shares_of_a_row_add_up_to_one(greedy: Runs) -> None:
    with picture("confusion", greedy[0], normalize=True) as figure:
        rows = np.zeros(10)
        for text in figure.axes[0].texts:
            rows[int(text.get_position()[1])] += float(text.get_text())
        assert np.abs(rows - 1).max() <= 0.02  # of two digits


def test_a_class_without_samples_has_no_shares(greedy: Runs, tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path, depth=2, classes=["cat", "dog"]))
    np.save(run.directory / "confusion.npy", np.array([[3, 1], [0, 0]]))
    with picture("confusion", run, normalize=True) as figure:
        assert close(cells(figure.axes[0]) ** 2, [[0.75, 0.25], [0, 0]])
        assert tick_names(figure.axes[0].xaxis) == ["cat", "dog"]


@pytest.mark.parametrize(("classes", "shown"), [(10, 10), (30, 30), (200, 40)])
def test_of_many_classes_some_are_named(tmp_path: Path, classes: int, shown: int) -> None:
    names = [f"class number {i}" for i in range(classes)]
    run = load_run(write_run(tmp_path, depth=2, classes=names))
    with picture("confusion", run, normalize=False) as figure:
        ticks = tick_names(figure.axes[0].yaxis)
        assert ticks[0] == "class number 0"
        assert ticks[-1] == names[-1]
        assert len(ticks) == shown
        assert (len(texts(figure.axes[0])) > 0) == (classes <= 20)


def test_correlations_are_those_of_scipy(greedy: Runs) -> None:
    with picture("correlation", *greedy) as figure:
        axes = figure.axes[0]
        metrics = tick_names(axes.yaxis)
        assert metrics == list(greedy[0].headlines)
        points = [
            [
                line["metrics"][layer].get(metric, math.nan)
                for run in greedy
                for layer in LAYERS
                for line in logged(run, "val")
            ]
            for metric in metrics
        ]
        expected = stats.spearmanr(points, axis=1, nan_policy="omit").statistic
        assert close(cells(axes), expected)


def test_experiments_have_correlations_of_their_own(greedy: Runs, mlp: RunRecord) -> None:
    with picture("correlation", greedy[0], mlp) as figure:
        titles = [axes.get_title(loc="left") for axes in figure.axes if axes.images]
        assert titles == ["greedy: 5 to 15 points", "mlp: 10 to 20 points"]


def test_a_page_of_metrics_is_coloured_row_by_row(greedy: Runs) -> None:
    with picture("metrics_heatmap", *greedy) as figure:
        axes = figure.axes[0]
        row = tick_names(axes.yaxis).index("participation_ratio (directions)")
        expected = values(greedy, "participation_ratio").mean(axis=0)[:, 3]
        shown = {text.get_position(): text.get_text() for text in axes.texts}
        assert [shown[column, row] for column in range(DEPTH)] == in_digits(expected).tolist()
        shares = (expected - expected.min()) / (expected.max() - expected.min())
        assert close(cells(axes)[row], shares)


def test_pairs_of_layers_are_drawn_from_the_first_epoch_to_the_last(greedy: Runs) -> None:
    with picture("cka_matrix", greedy[0]) as figure:
        panels = [axes for axes in figure.axes if axes.images]
        for axes, epoch in zip(panels, (0, 1, 2, 4), strict=True):
            assert close(cells(axes), logged(greedy[0], "val")[epoch]["pairs"]["linear_cka"])
        titles = [axes.get_title(loc="left") for axes in panels]
        assert titles == ["untrained", "epoch 1", "epoch 2", "epoch 4"]


def test_matrices_and_spectra_of_replicates_are_averaged(tmp_path: Path) -> None:
    matrices = ([[1, 0.5], [0.5, 1]], [[1, 0.2], [None, 1]])
    spectra = ([3, 1], [2, 2, 0])
    runs = [
        changed(
            tmp_path,
            seed,
            pairs={"linear_cka": matrix},
            vectors={"layer_0": {"eigenspectrum": spectrum}},
        )
        for seed, (matrix, spectrum) in enumerate(zip(matrices, spectra, strict=True))
    ]
    with picture("cka_matrix", *runs) as figure:
        assert close(cells(figure.axes[0]), [[1, 0.35], [0.5, 1]])
    with picture("eigenspectrum", *runs) as figure:
        (line,) = (line for line in figure.axes[0].lines if len(line.get_xdata()))
        assert close(heights(line), [(3 / 4 + 2 / 4) / 2, (1 / 4 + 2 / 4) / 2])


@pytest.mark.parametrize("phase", ["test", "train"])
def test_another_split_is_drawn_when_it_is_asked_for(greedy: Runs, phase: str) -> None:
    with picture("metrics_heatmap", greedy[0], phase=phase) as figure:
        tested = json.loads((greedy[0].directory / "test_results.json").read_text())["metrics"]
        subset = logged(greedy[0], "val")[3]["train_metrics"]
        expected = (tested if phase == "test" else subset)["layer_0"]["accuracy"]
        assert texts(figure.axes[0])[0] == f"{expected:.3f}"


# Scales

ADVANCED = [0.1, 0.9, 0.99]
ANY = (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("values", "bounds", "scale"),
    [
        (ADVANCED, (0, 1), "logit"),
        ([*ADVANCED, 1], (0, 1), "linear"),  # 1 has no place on the other
        ([0, *ADVANCED], (0, 1), "linear"),
        ([*ADVANCED, 1 - 1e-9], (0, 1), "linear"),  # would take most of the axis
        ([0.85, 0.97], (0, 1), "linear"),  # are about as near
        (ADVANCED, ANY, "linear"),
        ([0.1, 0.5], (0, 1), "linear"),  # is nowhere near 1
        ([0.98, 0.99], (0, 1), "linear"),  # are all near 1
        ([0.1, 97.5], (0, 1), "log"),  # a percentage, whatever the bounds say
        ([1, 29], (0, math.inf), "linear"),
        ([1, 31], (0, math.inf), "log"),
        ([0, 31], (0, math.inf), "linear"),
        ([-1, 2, 3], ANY, "linear"),
        ([-1, 1, 1000], ANY, "symlog"),
        ([-0.001, 0.2, 0.25, 0.3], ANY, "linear"),  # one is small
        ([-5, -1000], ANY, "linear"),
        ([math.nan], (0, 1), "linear"),
    ],
)
def test_a_scale_suits_its_values(
    axes: Axes, values: list[float], bounds: tuple[float, float], scale: str
) -> None:
    axes.plot(values)
    told = set_scale(axes, values, bounds)
    assert axes.get_yscale() == scale
    assert told == ("" if scale == "linear" else f"{scale} scale")
    is_crossed = min(values) < 0 < max(values)
    assert [heights(line) for line in axes.lines[1:]] == [[0, 0]] * is_crossed


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ([1, 100], ANY, "1 2 5 10 20 50 100"),
        ([1, 1000], ANY, "1 3 10 30 100 300 1000"),
        ([1e-8, 1e8], ANY, "$10^{-8}$ $10^{-5}$ $10^{-2}$ $10^{1}$ $10^{4}$ $10^{7}$"),
        ([-1000, 1, 1, 10], ANY, "−1000 −100 −10 −1 0 1 10"),
        ([0.1, 0.93], (0, 1), "0.1 0.2 0.3 0.5 0.7 0.8 0.9"),
        ([0.7, 0.999], (0, 1), "0.8 0.9 0.95 0.98 0.99 0.995 0.998 0.999"),
    ],
)
def test_ticks_are_round_and_apart(
    axes: Axes, values: list[float], bounds: tuple[float, float], expected: str
) -> None:
    axes.plot(values)
    set_scale(axes, values, bounds)
    assert tick_names(axes.yaxis) == expected.split()


def test_shares_are_as_far_apart_as_their_odds(axes: Axes) -> None:
    axes.plot(ADVANCED)
    set_scale(axes, ADVANCED, (0, 1))
    places = axes.transData.transform([(0, y) for y in (0.5, 0.9, 0.99)])[:, 1]
    first, second = np.diff(places)
    expected = math.log(9) / math.log(11)  # odds of 1, 9 and 99
    assert first / second == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "bounds", "norm", "ends"),
    [
        ([0.1, 0.99], (0, 1), FuncNorm, (0.1, 0.99)),
        ([1, 100], (0, math.inf), LogNorm, (1, 100)),
        ([-2, 1], (-2, 2), Normalize, (-2, 2)),
        ([-1, 1, 1000], ANY, SymLogNorm, (-1000, 1000)),
        ([3, 5], (0, math.inf), Normalize, (3, 5)),
        ([10, 10 + 1e-12], (0, math.inf), Normalize, (9, 11)),
    ],
)
def test_colours_suit_their_values(
    values: list[float], bounds: tuple[float, float], norm: type, ends: tuple[float, float]
) -> None:
    found, colours, told = colour_scale(values, bounds)
    assert bool(told) == (type(found) is not Normalize)
    assert type(found) is norm or isinstance(found, norm)
    assert (found.vmin, found.vmax) == pytest.approx(ends)
    assert (colours == "RdBu_r") == (min(values) < 0 < max(values))
    assert np.ma.filled(found(ends)) == pytest.approx([0, 1])


# Words


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("short", 2, "short"),
        ("  white \n space ", 2, "white space"),
        ("", 1, ""),
        ("mutual_information", 0.9, "mutual_\ninformation"),
        ("a few words of text", 0.8, "a few\nword…text"),
        ("price: $5", 2, r"price: \$5"),
        ("$x$ and $y$", 3, r"\$x\$ and \$y\$"),
        ("every_word of this is kept", 1.2, "every_word of\nthis is kept"),
    ],
)
def test_a_text_is_broken_to_lines(text: str, width: float, expected: str) -> None:
    assert literal(text, width) == expected


@pytest.mark.parametrize(
    "text", ["W" * 80, "i" * 80, "Wi_" * 30, "words of Wide LETTERS " * 4, "W"]
)
@pytest.mark.parametrize("font", [{}, {"fontsize": 12, "fontweight": "bold"}])
def test_no_line_is_longer_than_its_room(axes: Axes, text: str, font: dict[str, Any]) -> None:
    for most in (1, 2, 4):
        drawn = axes.text(0, 0, literal(text, 1.5, most, **font), **({"fontsize": 10} | font))
        assert drawn.get_window_extent().width <= 1.5 * 100 + 1
        assert drawn.get_text().count("\n") < most


def test_names_that_differ_at_the_end_stay_different() -> None:
    names = [f"a model with many options, the last of which is lr={lr}" for lr in (0.1, 0.01)]
    first, second = (literal(name, 1.5, lines=1) for name in names)
    assert first != second


def test_some_are_the_first_and_the_last_and_no_more_than_fit() -> None:
    for count, most in itertools.product([*range(12), 50, 999], [1, 2, 3, 8]):
        found = _some(count, most)
        assert found == sorted(set(found))
        assert len(found) <= most
        assert len(found) == min(count, most) or len(found) > most / 2 - 1
        assert found[-1:] == [count - 1][:count]
        assert found[:1] == [0][:count] or most == 1


def test_few_names_are_all_along_the_axis_and_many_are_not(axes: Axes) -> None:
    name_ticks(axes, list("abc"))
    assert tick_names(axes.xaxis) == list("abc")
    name_ticks(axes, [str(i) for i in range(200)])
    first, *others, last = axes.get_xticks()
    assert (first, last) == (0, 199)
    assert 6 < len(others) < 28


@pytest.mark.parametrize(
    ("name", "shown", "angle"),
    [("a long name", "a long\nname", 0), ("incomprehensibilities", "incomprehensibilities", 40)],
)
def test_long_names_are_turned_and_those_of_short_words_broken(
    axes: Axes, name: str, shown: str, angle: float
) -> None:
    name_ticks(axes, [name] * 4)
    assert {(t.get_text(), t.get_rotation()) for t in axes.get_xticklabels()} == {(shown, angle)}


@pytest.mark.parametrize(
    ("names", "width", "columns"),
    [(["short"] * 3, 10, 3), (["a name of about two inches"] * 9, 6, 2), (["wide"], 0.1, 1)],
)
def test_a_key_has_as_many_columns_as_fit(names: list[str], width: float, columns: int) -> None:
    assert key_layout(names, width)["ncols"] == columns


@pytest.mark.parametrize("page", ["#ffffff", "#1b1d22"])
def test_layers_are_the_lighter_the_deeper_and_seen_on_the_page(page: str) -> None:
    with mpl.rc_context({"axes.facecolor": page}):
        shades = [sum(to_rgb(x)) for x in layer_colours([f"layer_{i}" for i in range(9)]).values()]
    assert shades == sorted(set(shades))
    assert len(shades) == 9
    assert min(abs(shade - sum(to_rgb(page))) for shade in shades) > 0.7


def test_the_context_says_which_runs_and_how_many_samples(greedy: Runs, mlp: RunRecord) -> None:
    with picture("layerwise", *greedy, mlp, metric="margin") as figure:
        context = figure.subfigs[0].legends[0].get_title().get_text()
        assert context == "greedy, 3 seeds; mlp, seed 0 on digits · validation (n = 150)"
    with picture("heatmap", greedy[1], metric="margin", phase="test") as figure:
        context = figure.subfigs[0].get_suptitle()
        assert context == "greedy, seed 1 on digits · test (n = 200)"
