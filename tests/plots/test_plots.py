"""Known answers of the built-in plots: what their artists hold, against the files of the runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import FuncNorm, LogNorm, Normalize, SymLogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from scipy import stats

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
from cmp_plots._scales import bar_ticks, colour_scale, log_ticks, set_scale
from cmp_plots._style import _some, key_columns, layer_colours, legend_by_row, literal, name_ticks
from tests.run_files import lines
from tests.synthetic_runs import write_old_run, write_run

REGISTRY = load_plugins(built_ins=("cmp_plots",)).registry

DEPTH = 3
LAYERS = [f"layer_{i}" for i in range(DEPTH)]


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, ...]:
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
    return load_run(directory)


def logged(run: RunRecord, phase: str) -> list[dict[str, Any]]:
    return [line for line in lines(run.directory) if line["phase"] == phase]


def values(run: RunRecord, layer: str, metric: str, key: str = "metrics") -> list[float]:
    """A metric at a layer at the end of each epoch, read from the log."""
    return [line[key][layer][metric] for line in logged(run, "val")]


def mean(runs: Sequence[RunRecord], layer: str, metric: str) -> NDArray[np.float64]:
    return np.mean([values(run, layer, metric) for run in runs], axis=0)


def y_of(axes: Axes) -> list[list[float]]:
    """The heights of all lines."""
    return [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]


def heights(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


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


def test_training_curves_are_means_over_the_batches_of_an_epoch(
    greedy: tuple[RunRecord, ...],
) -> None:
    with picture("training_curves", greedy[0]) as figure:
        loss, accuracy = figure.axes
        for axes, trained, validated in ((loss, "loss", "val_loss"), (accuracy, "acc", "acc")):
            first, second = axes.lines
            batches = logged(greedy[0], "train")
            expected = [
                np.mean([line[trained] for line in batches if line["epoch"] == epoch])
                for epoch in (1, 2, 3, 4)
            ]
            assert first.get_xdata().tolist() == [1, 2, 3, 4]
            assert close(heights(first), expected)
            assert second.get_xdata().tolist() == [0, 1, 2, 3, 4]
            assert heights(second) == [line[validated] for line in logged(greedy[0], "val")]


def test_replicates_are_drawn_as_their_mean_and_range(greedy: tuple[RunRecord, ...]) -> None:
    with picture("multi_run", *greedy, metric="margin", layer="layer_1") as figure:
        (axes,) = figure.axes
        runs = np.array([values(run, "layer_1", "margin") for run in greedy])
        drawn, *each = axes.lines[:4]
        assert close(heights(drawn), runs.mean(axis=0))
        assert close([heights(line) for line in each], runs)
        assert close(bands(axes), [[runs.min(axis=0), runs.max(axis=0)]])


def test_experiments_are_not_averaged_together(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("multi_run", greedy[0], mlp, metric="accuracy", layer="layer_1") as figure:
        assert y_of(figure.axes[0]) == [
            values(run, "layer_1", "accuracy") for run in (greedy[0], mlp)
        ]
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["greedy", "mlp"]


def test_train_val_has_the_gap_of_training_less_validation(greedy: tuple[RunRecord, ...]) -> None:
    with picture("train_val", greedy[0], metric="cross_entropy") as figure:
        trained, validated, gap = figure.axes
        for i, layer in enumerate(LAYERS):
            train = values(greedy[0], layer, "cross_entropy", "train_metrics")
            val = values(greedy[0], layer, "cross_entropy")
            assert (heights(trained.lines[i]), heights(validated.lines[i])) == (train, val)
            assert close(heights(gap.lines[i]), np.subtract(train, val))
        assert trained.get_ylim() == validated.get_ylim()


def test_the_gap_of_older_logs_is_said_to_be_that_of_batch_means(old: RunRecord) -> None:
    with picture("train_val", old, metric="probe_accuracy") as figure:
        trained, _, gap = figure.axes
        assert trained.get_title(loc="left") == "training batches (mean)"
        assert close(heights(trained.lines[0]), [0.5, 0.5])
        assert close(heights(gap.lines[0]), [-0.1, -0.1])


def test_the_overview_has_a_panel_per_metric_and_a_line_per_layer(
    greedy: tuple[RunRecord, ...],
) -> None:
    with picture("overview", greedy[0]) as figure:
        panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
        assert list(panels) == list(greedy[0].headlines)
        assert y_of(panels["label_information"]) == [
            values(greedy[0], layer, "label_information") for layer in LAYERS
        ]
        assert y_of(panels["linear_cka"]) == [
            values(greedy[0], layer, "linear_cka") for layer in LAYERS[1:]
        ]
        assert panels["cross_entropy"].get_ylabel() == "nats"


def test_the_overview_of_experiments_takes_the_last_layer_without_a_head(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("overview", greedy[0], mlp) as figure:
        panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
        assert y_of(panels["accuracy"]) == [
            values(run, LAYERS[-1], "accuracy") for run in (greedy[0], mlp)
        ]


def test_the_timeline_has_a_running_mean_of_the_mean_over_seeds(
    greedy: tuple[RunRecord, ...],
) -> None:
    with picture("timeline", *greedy, metric="accuracy", layer="layer_1") as figure:
        (axes,) = figure.axes
        points, running, validated, subset = axes.lines
        measured = [
            {line["step"]: line["metrics"]["layer_1"]["accuracy"] for line in train}
            for train in ([x for x in logged(run, "train") if "metrics" in x] for run in greedy)
        ]
        steps = sorted(measured[0])
        means = [np.mean([run[step] for run in measured]) for step in steps]
        last = len(steps) - 1
        expected = [
            np.mean([means[min(max(j, 0), last)] for j in range(i - 4, i + 5)])
            for i in range(len(steps))
        ]
        assert running.get_xdata().tolist() == steps
        assert close(heights(running), expected)
        assert sorted(heights(points)) == sorted(v for run in measured for v in run.values())
        assert close(heights(validated), mean(greedy, "layer_1", "accuracy"))
        subsets = [values(run, "layer_1", "accuracy", "train_metrics") for run in greedy]
        assert close(heights(subset), np.mean(subsets, axis=0))
        assert validated.get_xdata().tolist() == [0, 12, 24, 36, 48]
        key = [text.get_text() for text in figure.legends[0].get_texts()]
        assert "training batches (n = 32)" in key
        assert "validation (n = 150)" in key


def test_boxes_are_of_trained_weights(greedy: tuple[RunRecord, ...]) -> None:
    with picture("distributions", *greedy) as figure:
        (axes,) = (a for a in figure.axes if a.get_title(loc="left") == "margin")
        medians = [heights(line)[0] for line in axes.lines if line.get_linewidth() == 2]
        trained = [[values(run, layer, "margin")[1:] for run in greedy] for layer in LAYERS]
        assert close(medians, np.median(trained, axis=(1, 2)))


# Over depth


def test_layerwise_has_the_layers_at_each_epoch(greedy: tuple[RunRecord, ...]) -> None:
    with picture("layerwise", *greedy, metric="margin") as figure:
        found = figure.axes[0].lines[:5]
        expected = [
            [mean(greedy, layer, "margin")[epoch] for layer in LAYERS] for epoch in range(5)
        ]
        assert close([heights(line) for line in found], expected)
        key = [text.get_text() for text in figure.legends[0].get_texts()]
        assert key == ["untrained", "epoch 1", "epoch 2", "epoch 3", "epoch 4"]
        assert [line.get_linestyle() for line in found] == [":", "-", "-", "-", "-"]


def test_layers_are_compared_at_the_tested_epoch(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    """The log's third epoch was tested; the fourth is the last."""
    with picture("architecture_comparison", *greedy, mlp, metric="label_information") as figure:
        first, first_untrained, second, second_untrained, level, *_ = figure.axes[0].lines
        for line, epoch in ((first, 3), (first_untrained, 0)):
            expected = [mean(greedy, layer, "label_information")[epoch] for layer in LAYERS]
            assert close(heights(line), expected)
        for line, epoch in ((second, 3), (second_untrained, 0)):
            layers = [*LAYERS, "head"]
            expected = [values(mlp, layer, "label_information")[epoch] for layer in layers]
            assert close(heights(line), expected)
        of_input = [
            logged(run, "val")[-1]["reference"]["label_information"] for run in (*greedy, mlp)
        ]
        assert close(heights(level), [np.mean(of_input)] * 2)
        (band,) = bands(figure.axes[0])
        of_layer = [values(run, "layer_1", "label_information")[3] for run in greedy]
        assert close(band[:, 1], [min(of_layer), max(of_layer)])


def test_replicates_alone_are_no_comparison_of_models(greedy: tuple[RunRecord, ...]) -> None:
    comparison = picture("architecture_comparison", *greedy, metric="margin")
    with pytest.raises(UndefinedError, match="the runs differ by seed alone"):
        comparison.__enter__()


def test_the_progression_says_only_what_is_drawn(
    greedy: tuple[RunRecord, ...], old: RunRecord
) -> None:
    with picture("layer_progression", old) as figure:
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mlp"]
    with picture("layer_progression", greedy[0]) as figure:
        key = [text.get_text() for text in figure.legends[0].get_texts()]
        assert key == ["greedy", "untrained", "input"]
        (axes,) = (a for a in figure.axes if a.get_title(loc="left") == "margin")
        assert heights(axes.lines[0]) == [values(greedy[0], x, "margin")[3] for x in LAYERS]


def test_the_questions_have_the_short_verdicts_of_the_answers(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("research_questions", *greedy, mlp) as figure:
        titles = [" ".join(axes.get_title(loc="left").split()) for axes in figure.axes]
        expected = [
            f"{name}: {QUESTIONS[question]} {answer(runs, question).short_verdict}"
            for name, runs in (("greedy", greedy), ("mlp", [mlp]))
            for question in QUESTIONS
        ]
        assert titles == expected


def test_compression_is_drawn_relative_to_the_first_layer(greedy: tuple[RunRecord, ...]) -> None:
    with picture("research_questions", *greedy) as figure:
        _, axes, different = figure.axes
        (line,) = (line for line in axes.lines if line.get_label() == "participation_ratio")
        tested = np.array(
            [[values(run, x, "participation_ratio")[3] for x in LAYERS] for run in greedy]
        )
        assert close(heights(line), (tested / tested[:, :1]).mean(axis=0))
        (line,) = (line for line in different.lines if line.get_label() == "linear_cka")
        similarity = [[values(run, x, "linear_cka")[3] for x in LAYERS[1:]] for run in greedy]
        assert close(heights(line), 1 - np.mean(similarity, axis=0))


def test_an_input_without_information_has_no_place_on_a_logarithmic_axis(tmp_path: Path) -> None:
    references = {"mutual_information": 0.0, "participation_ratio": 20.0}
    with picture("research_questions", changed(tmp_path, reference=references)) as figure:
        axes = figure.axes[1]
        levels = [heights(line)[:1] for line in axes.lines if line.get_linestyle() == "--"]
        (first,) = (x for x in axes.lines if x.get_label() == "participation_ratio")
        assert heights(first)[0] == 1
        assert len(levels) == 2  # one of them stands for all in the key
        assert 0.4 < levels[0][0] < 0.6  # the first layer has about 41 directions
        assert levels[1] == []


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_alone_has_no_title(greedy: tuple[RunRecord, ...], question: str) -> None:
    plot = definition_of(REGISTRY.get("plot", "research_questions").factory, "plot")()
    with figure_of(plot, PlotView(RunSet(greedy), question=question)) as figure:
        (axes,) = figure.axes
        assert axes.get_title(loc="left") == ""
        assert axes.get_legend() is not None


def test_a_spectrum_is_shares_of_its_sum(greedy: tuple[RunRecord, ...]) -> None:
    with picture("eigenspectrum", *greedy) as figure:
        for axes, epoch in zip(figure.axes, (0, 3), strict=True):
            lines_of_layers = [line for line in axes.lines if len(line.get_xdata())]
            for line, layer in zip(lines_of_layers, LAYERS, strict=True):
                vector = np.array(
                    logged(greedy[0], "val")[epoch]["vectors"][layer]["eigenspectrum"]
                )
                assert close(heights(line), vector / vector.sum())
                assert math.isclose(sum(heights(line)), 1)


def test_equal_eigenvalues_are_drawn_as_equal(tmp_path: Path) -> None:
    values = [1.0, 1 + 2**-52, 1 - 2**-52, 1.0]
    spectra = {f"layer_{i}": {"eigenspectrum": values} for i in range(2)}
    with picture("eigenspectrum", changed(tmp_path, vectors=spectra)) as figure:
        low, high = figure.axes[0].get_ylim()
        assert low < 0.026
        assert 0.25 < high < 1
        assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()][:2] == ["1", "2"]


# Cells


def test_a_heatmap_of_one_run_is_over_epochs(greedy: tuple[RunRecord, ...]) -> None:
    with picture("heatmap", greedy[0], metric="margin") as figure:
        axes = figure.axes[0]
        expected = np.array([values(greedy[0], layer, "margin") for layer in LAYERS])
        assert close(cells(axes), expected)
        assert texts(axes) == in_digits(expected).ravel().tolist()
        assert [tick.get_text() for tick in axes.get_xticklabels()] == list("01234")
        assert [tick.get_text() for tick in axes.get_yticklabels()] == list("012")


def test_a_heatmap_of_several_runs_is_at_the_tested_weights(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("heatmap", greedy[1], mlp, metric="linear_cka") as figure:
        axes = figure.axes[0]
        expected = [
            [values(greedy[1], layer, "linear_cka")[3], values(mlp, layer, "linear_cka")[3]]
            for layer in LAYERS[1:]
        ]
        assert close(cells(axes), [*expected, [math.nan, values(mlp, "head", "linear_cka")[3]]])
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        assert names == ["1", "2", "head"]  # the first layer has no layer before it


def test_the_confusions_of_replicates_are_summed(greedy: tuple[RunRecord, ...]) -> None:
    with picture("confusion", *greedy, normalize=False) as figure:
        axes = figure.axes[0]
        counts = sum(np.load(run.directory / "confusion.npy") for run in greedy)
        assert texts(axes) == [str(count) for count in counts.ravel() if count]
        shares = cells(axes) ** 2
        assert close(shares.sum(axis=1), np.ones(10))
        assert close(shares, counts / counts.sum(axis=1, keepdims=True))


def test_shares_of_a_row_add_up_to_one(greedy: tuple[RunRecord, ...]) -> None:
    with picture("confusion", greedy[0], normalize=True) as figure:
        rows = np.zeros(10)
        for text in figure.axes[0].texts:
            rows[int(text.get_position()[1])] += float(text.get_text())
        assert np.abs(rows - 1).max() <= 0.02  # of two digits


def test_a_class_without_samples_has_no_shares(
    greedy: tuple[RunRecord, ...], tmp_path: Path
) -> None:
    run = load_run(write_run(tmp_path, depth=2, classes=["cat", "dog"]))
    np.save(run.directory / "confusion.npy", np.array([[3, 1], [0, 0]]))
    with picture("confusion", run, normalize=True) as figure:
        assert close(cells(figure.axes[0]) ** 2, [[0.75, 0.25], [0, 0]])
        assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["cat", "dog"]


@pytest.mark.parametrize(("classes", "shown"), [(10, 10), (30, 30), (200, 40)])
def test_of_many_classes_some_are_named(tmp_path: Path, classes: int, shown: int) -> None:
    names = [f"class number {i}" for i in range(classes)]
    run = load_run(write_run(tmp_path, depth=2, classes=names))
    with picture("confusion", run, normalize=False) as figure:
        ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
        assert ticks[0] == "class number 0"
        assert ticks[-1] == names[-1]
        assert len(ticks) == shown
        assert (len(texts(figure.axes[0])) > 0) == (classes <= 20)


def test_correlations_are_those_of_scipy(greedy: tuple[RunRecord, ...]) -> None:
    with picture("correlation", *greedy) as figure:
        axes = figure.axes[0]
        metrics = [tick.get_text() for tick in axes.get_yticklabels()]
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


def test_experiments_have_correlations_of_their_own(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("correlation", greedy[0], mlp) as figure:
        titles = [axes.get_title(loc="left") for axes in figure.axes if axes.images]
        assert titles == ["greedy", "mlp"]


def test_a_page_of_metrics_is_coloured_row_by_row(greedy: tuple[RunRecord, ...]) -> None:
    with picture("metrics_heatmap", *greedy) as figure:
        axes = figure.axes[0]
        names = [tick.get_text() for tick in axes.get_yticklabels()]
        row = names.index("participation_ratio (directions)")
        expected = np.array([mean(greedy, layer, "participation_ratio")[3] for layer in LAYERS])
        shown = {text.get_position(): text.get_text() for text in axes.texts}
        assert [shown[column, row] for column in range(DEPTH)] == in_digits(expected).tolist()
        shares = (expected - expected.min()) / (expected.max() - expected.min())
        assert close(cells(axes)[row], shares)


def test_pairs_of_layers_are_drawn_from_the_first_epoch_to_the_last(
    greedy: tuple[RunRecord, ...],
) -> None:
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
def test_another_split_is_drawn_when_it_is_asked_for(
    greedy: tuple[RunRecord, ...], phase: str
) -> None:
    with picture("metrics_heatmap", greedy[0], phase=phase) as figure:
        tested = json.loads((greedy[0].directory / "test_results.json").read_text())["metrics"]
        subset = logged(greedy[0], "val")[3]["train_metrics"]
        expected = (tested if phase == "test" else subset)["layer_0"]["accuracy"]
        assert texts(figure.axes[0])[0] == f"{expected:.3g}"


# Scales

ADVANCED = np.array([0.1, 0.9, 0.99])


@pytest.mark.parametrize(
    ("values", "bounds", "scale"),
    [
        (ADVANCED, (0, 1), "function"),
        (ADVANCED, (-math.inf, math.inf), "linear"),
        ([0.1, 0.5], (0, 1), "linear"),  # is nowhere near 1
        ([0.98, 0.99], (0, 1), "linear"),  # are all near 1
        ([0.1, 97.5], (0, 1), "log"),  # a percentage, whatever the bounds say
        ([1, 29], (0, math.inf), "linear"),
        ([1, 31], (0, math.inf), "log"),
        ([0, 31], (0, math.inf), "linear"),
        ([-1, 2, 3], (-math.inf, math.inf), "linear"),
        ([-1, 1, 1000], (-math.inf, math.inf), "symlog"),
        ([-5, -1000], (-math.inf, math.inf), "linear"),
        ([math.nan], (0, 1), "linear"),
    ],
)
def test_a_scale_suits_its_values(
    axes: Axes, values: ArrayLike, bounds: tuple[float, float], scale: str
) -> None:
    axes.plot(values)
    set_scale(axes, values, bounds)
    assert axes.get_yscale() == scale


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([1, 400], [1, 2, 5, 10, 20, 50, 100, 200, 500]),
        ([1e-8, 1e8], [1e-8, 1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6, 1e8]),
        ([-1000, 1, 1, 10], [-1000, -100, -10, -1, 0, 1, 10]),
    ],
)
def test_ticks_are_round_and_apart(axes: Axes, values: list[float], ticks: list[float]) -> None:
    axes.plot(values)
    set_scale(axes, values)
    assert axes.get_yticks().tolist() == pytest.approx(ticks)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        f"{tick:g}".replace("-", "−") for tick in ticks
    ]


@pytest.mark.parametrize("low", [0, 0.1, 0.5, 0.7])
@pytest.mark.parametrize("high", [0.93, 0.999, 1])
def test_ticks_of_shares_are_ordered_and_within_the_limits(
    axes: Axes, low: float, high: float
) -> None:
    axes.plot([low, high])
    set_scale(axes, [low, high], (0, 1))
    ticks = axes.get_yticks()
    assert axes.get_yscale() == "function"
    assert 3 <= len(ticks) <= 10
    assert (np.diff(ticks) > 0).all()
    bottom, top = axes.get_ylim()
    assert bottom < low
    assert bottom <= ticks[0] < ticks[-1] <= top
    pixels = axes.transData.transform([(0, tick) for tick in ticks])[:, 1]
    assert np.diff(pixels).min() > 0.09 * axes.bbox.height


def test_shares_are_as_far_apart_as_their_odds(axes: Axes) -> None:
    axes.plot(ADVANCED)
    set_scale(axes, ADVANCED, (0, 1))
    places = axes.transData.transform([(0, y) for y in (0.5, 0.9, 0.99)])[:, 1]
    first, second = np.diff(places)
    expected = math.log(9) / math.log(11)  # odds of 1, 9 and 99
    assert first / second == pytest.approx(expected, rel=0.05)  # 0 and 1 are drawn in a little


def test_zero_is_marked_where_it_is_crossed(axes: Axes) -> None:
    axes.plot([-1, 1])
    set_scale(axes, [-1, 1])
    assert heights(axes.lines[-1]) == [0, 0]


@pytest.mark.parametrize(
    ("values", "bounds", "norm", "ends"),
    [
        ([0.1, 0.99], (0, 1), FuncNorm, (0.1, 0.99)),
        ([1, 100], (0, math.inf), LogNorm, (1, 100)),
        ([-2, 1], (-2, 2), Normalize, (-2, 2)),
        ([-1, 1, 1000], (-math.inf, math.inf), SymLogNorm, (-1000, 1000)),
        ([3, 5], (0, math.inf), Normalize, (3, 5)),
        ([10, 10 + 1e-12], (0, math.inf), Normalize, (9, 11)),
    ],
)
def test_colours_suit_their_values(
    values: list[float], bounds: tuple[float, float], norm: type, ends: tuple[float, float]
) -> None:
    found, colours = colour_scale(values, bounds)
    assert type(found) is norm or isinstance(found, norm)
    assert (found.vmin, found.vmax) == pytest.approx(ends)
    assert (colours == "RdBu_r") == (min(values) < 0 < max(values))
    assert float(found(found.vmin)) == pytest.approx(0)
    assert float(found(found.vmax)) == pytest.approx(1)
    ticks = bar_ticks(found)
    assert (ticks is None) == (norm is Normalize)
    assert ticks is None or ends[0] <= min(ticks) < max(ticks) <= ends[1]


def test_log_ticks_begin_with_decades() -> None:
    assert log_ticks(0.9, 11) == [1, 2, 5, 10]
    assert log_ticks(1e-3, 1e3) == pytest.approx([1e-3, 1e-2, 0.1, 1, 10, 100, 1000])


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
    ],
)
def test_a_text_is_broken_to_lines(text: str, width: float, expected: str) -> None:
    assert literal(text, width) == expected


@pytest.mark.parametrize(
    "text", ["W" * 80, "i" * 80, "Wi_" * 30, "words of Wide LETTERS " * 4, "W"]
)
@pytest.mark.parametrize("lines", [1, 2, 4])
@pytest.mark.parametrize("font", [{}, {"fontsize": 12, "fontweight": "bold"}])
def test_no_line_is_longer_than_its_room(
    axes: Axes, text: str, lines: int, font: dict[str, Any]
) -> None:
    drawn = axes.text(0, 0, literal(text, 1.5, lines, **font), **({"fontsize": 10} | font))
    assert drawn.get_window_extent().width <= 1.5 * 100 + 1
    assert drawn.get_text().count("\n") < lines


def test_a_text_that_fits_is_whole() -> None:
    text = "every_word of this is kept"
    assert literal(text, 1.2).replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_names_that_differ_at_the_end_stay_different() -> None:
    names = [f"a model with many options, the last of which is lr={lr}" for lr in (0.1, 0.01)]
    first, second = (literal(name, 1.5, lines=1) for name in names)
    assert first != second


@pytest.mark.parametrize("count", [*range(12), 50, 999])
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_some_are_the_first_and_the_last_and_no_more_than_fit(count: int, most: int) -> None:
    found = _some(count, most)
    assert found == sorted(set(found))
    assert len(found) <= most
    assert len(found) == min(count, most) or len(found) > most / 2 - 1
    assert found[-1:] == [count - 1][:count]
    assert found[:1] == [0][:count] or most == 1


def test_few_names_are_all_along_the_axis_and_many_are_not(axes: Axes) -> None:
    name_ticks(axes, list("abc"))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list("abc")
    name_ticks(axes, [str(i) for i in range(200)])
    ticks = axes.get_xticks()
    assert 8 < len(ticks) < 30
    assert ticks[0] == 0
    assert ticks[-1] == 199


def test_long_names_are_turned_and_those_of_short_words_broken(axes: Axes) -> None:
    name_ticks(axes, ["a long name"] * 4)
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {0}
    assert axes.get_xticklabels()[0].get_text() == "a long\nname"
    name_ticks(axes, ["incomprehensibilities"] * 4)
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {40}


def test_a_key_is_read_row_by_row(axes: Axes) -> None:
    handles = [Line2D([], [], linewidth=i) for i in range(5)]
    legend_by_row(axes, handles, list("abcde"), 2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("acebd")
    assert [line.get_linewidth() for line in axes.get_legend().get_lines()] == [0, 2, 4, 1, 3]


def test_a_key_has_as_many_columns_as_fit() -> None:
    assert key_columns(["short"] * 3, 10) == 3
    assert key_columns(["a name of about two inches"] * 9, 6) == 2
    assert key_columns(["wider than everything"], 0.1) == 1


def test_layers_are_the_lighter_the_deeper() -> None:
    shades = [
        sum(to_rgb(shade)) for shade in layer_colours([f"layer_{i}" for i in range(9)]).values()
    ]
    assert shades == sorted(shades)
    assert len(set(shades)) == 9


def test_the_context_says_which_runs_and_how_many_samples(
    greedy: tuple[RunRecord, ...], mlp: RunRecord
) -> None:
    with picture("layerwise", *greedy, mlp, metric="margin") as figure:
        _, context = figure.texts
        expected = "greedy, 3 seeds; mlp, seed 0 on digits · validation (n = 150)"
        assert context.get_text() == expected
    with picture("layerwise", greedy[1], metric="margin", phase="test") as figure:
        _, context = figure.texts
        assert context.get_text() == "greedy, seed 1 on digits · test (n = 200)"
