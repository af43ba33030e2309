"""Which pictures are drawn of runs, under which names, and what a plot that fails costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core import PlotView, RunSet, UndefinedError, load_run, plot
from cmp_core.drawing import Drawn, draw, render, tasks
from cmp_core.errors import PluginError, UsageError
from cmp_core.plot_contract import Plot
from cmp_core.plugins import load_plugins
from tests.synthetic_runs import write_run

PLOTS = load_plugins(built_ins=("cmp_plots",)).select_plots()
FILES = {
    "all_metrics_overview_val",
    "architecture_comparison_margin",
    "basic_training_curves",
    "cka_matrix_val",
    "confusion_matrix",
    "confusion_matrix_normalized",
    "correlation_matrix_val",
    "eigenspectrum_val",
    "heatmap_margin_val",
    "layer_progression_analysis",
    "layerwise_margin_val",
    "metric_distributions_val",
    "metrics_heatmap_val",
    "multi_run_margin_layer_1_val",
    "research_questions",
    "timeline_margin_layer_1",
    "train_val_comparison_margin",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    folder = tmp_path_factory.mktemp("runs")
    return RunSet(tuple(load_run(write_run(folder, model=model)) for model in ("greedy", "mlp")))


@pytest.fixture
def one(runs: RunSet) -> RunSet:
    return RunSet(runs.runs[:1])


def test_the_files_have_the_names_that_users_know(runs: RunSet, tmp_path: Path) -> None:
    options = {"metric": "margin", "layer": "layer_1", "phase": "val"}
    todo = tasks((plot.with_what_it_takes(options) for plot in PLOTS), runs)
    drawn = list(draw(todo, tmp_path, dpi=30))
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in FILES}
    assert all(picture.path and not picture.reason for picture in drawn)


def test_without_options_every_headline_metric_is_drawn(one: RunSet) -> None:
    (heatmap,) = [plot for plot in PLOTS if plot.label == "heatmap"]
    assert [view.metric for view in heatmap.views(one)] == list(one.headlines)
    (confusion,) = [plot for plot in PLOTS if plot.label == "confusion"]
    assert [view.normalized for view in confusion.views(one)] == [False, True]


def test_what_compares_runs_gives_a_reason_for_one(one: RunSet) -> None:
    reasons = {task.plot.label: task.reason for task in tasks(PLOTS, one) if task.view is None}
    assert set(reasons) == {"architecture_comparison", "multi_run"}
    assert set(reasons.values()) == {"it compares runs, and there is one"}


@pytest.mark.parametrize(
    ("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_each_format_is_what_it_says(one: RunSet, form: str, start: bytes) -> None:
    (curves,) = [plot for plot in PLOTS if plot.label == "training_curves"]
    view = next(iter(curves.views(one)))
    assert render(curves, view, form).startswith(start)
    assert render(curves, view, form) == render(curves, view, form)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "margin"}, "unknown option 'metrics'; did you mean 'metric'"),
        ({"phase": "vall"}, "unknown phase 'vall'; did you mean 'val'"),
        ({"metric": 3}, "expected a name or a list of names"),
        ({"metric": []}, "expected a name or a list of names"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], message: str) -> None:
    (heatmap,) = [plot.definition for plot in PLOTS if plot.label == "heatmap"]
    with pytest.raises(UsageError, match=message):
        heatmap(**options)


@pytest.mark.parametrize("file", ["", "x_{}", "x_{metric:d}", "x_{metric!r}", "x_{metrics}"])
def test_a_file_name_that_cannot_be_made_is_told_at_once(file: str) -> None:
    with pytest.raises(UsageError, match=r"@plot\('mine'\): file: "):
        plot("mine", file=file)(lambda view: None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "margni"}, "unknown metric 'margni'; did you mean 'margin'"),
        ({"metric": "margin", "layer": "layer1"}, "unknown layer 'layer1'; did you mean 'layer_1'"),
    ],
)
def test_names_that_no_run_has_are_told(one: RunSet, options: dict[str, str], message: str) -> None:
    (timeline,) = [plot.definition for plot in PLOTS if plot.label == "timeline"]
    with pytest.raises(UsageError, match=message):
        tasks([timeline(**options)], one)


# Plots that fail


def a_plot(act: str) -> Plot:
    """A plot that is drawn for two metrics, and does something wrong each time."""

    @plot("bad", file="bad_{metric}")
    def bad(view: PlotView) -> object:
        """Fails."""
        if act == "exit":
            raise SystemExit(2)
        if act == "reason":
            raise UndefinedError("there is nothing")
        if act == "value":
            return 3
        raise ValueError("no")

    return bad.plot_definition(metric=["margin", "accuracy"])  # type: ignore[attr-defined,no-any-return]


def pictures(one: RunSet, folder: Path, act: str, policy: str) -> list[Drawn]:
    good = [plot for plot in PLOTS if plot.label == "metrics_heatmap"]
    return list(draw(tasks([a_plot(act), *good], one), folder, dpi=30, policy=policy))


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("raise", "ValueError: no"),
        ("exit", "SystemExit: 2"),
        ("value", "PluginError: expected a matplotlib Figure, got int"),
    ],
)
def test_a_plot_that_raises_is_drawn_no_more_and_costs_no_other(
    one: RunSet, tmp_path: Path, act: str, error: str
) -> None:
    bad, good = pictures(one, tmp_path, act, "disable")
    assert bad.failure is not None
    assert (bad.failure.plugin, bad.failure.error, bad.failure.disabled) == ("bad", error, True)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics_heatmap_val.png"]
    assert good.path == tmp_path / "metrics_heatmap_val.png"


def test_a_policy_may_go_on_with_it_or_end_all(one: RunSet, tmp_path: Path) -> None:
    first, second, _ = pictures(one, tmp_path, "raise", "warn")
    assert [picture.failure and picture.failure.disabled for picture in (first, second)] == [
        False
    ] * 2
    with pytest.raises(PluginError, match="plugin 'bad' raised in drawing: ValueError: no"):
        pictures(one, tmp_path, "raise", "raise")


def test_a_reason_is_no_failure(one: RunSet, tmp_path: Path) -> None:
    first, second, _ = pictures(one, tmp_path, "reason", "disable")
    assert (first.reason, second.reason) == ("there is nothing",) * 2
    assert first.failure is None


def test_nothing_is_left_open(one: RunSet, tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    mine = plt.figure()
    pictures(one, tmp_path, "raise", "disable")
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


def test_a_view_of_several_runs_has_no_single_one(runs: RunSet) -> None:
    view = PlotView(runs)
    with pytest.raises(UndefinedError, match="it shows one run, and there are several"):
        _ = view.run
