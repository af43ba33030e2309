"""Tests of `cmp_core.plotting.render` and of the options of plots: files, failures and themes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cmp_core.errors import DataError, PluginError, UndefinedError, UsageError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.plotting.plot import Plot, PlotView, plot, select_plots
from cmp_core.plotting.render import (
    DRAWING,
    FORMATS,
    Drawn,
    Task,
    draw,
    on_dark_pages,
    render,
    tasks,
)
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from cmp_core.runs.record import load_run
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_old_run, write_run

PLOTS = {plot.label: plot for plot in select_plots(load_plugins(built_ins=("cmp_plots",)))}

FILES = """
    all_metrics_overview_val architecture_comparison_margin basic_training_curves cka_matrix_val
    confusion_matrix confusion_matrix_normalized correlation_matrix_val differences
    eigenspectrum_val heatmap_margin_val layer_progression_analysis layerwise_margin_val
    metric_distributions_val
    metrics_heatmap_val multi_run_margin_layer_1_val research_questions timeline_margin_layer_1
    train_val_comparison_margin
"""


@pytest.fixture(autouse=True)
def _no_figures() -> None:
    """Other tests may have left figures open, as `--show` does."""
    plt.close("all")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """A greedy run and an MLP of two hidden layers."""
    folder = tmp_path_factory.mktemp("runs")
    return RunSet(tuple(load_run(write_run(folder, model=m, depth=2)) for m in ("greedy", "mlp")))


@pytest.fixture
def one(two: RunSet) -> RunSet:
    return RunSet(two.runs[:1])


def made(implementation: Callable[[PlotView], Any], file: str = "{metric}") -> Plot:
    """A plot of one's own, drawn for two metrics."""
    name = implementation.__name__
    definition = plot(name, file=f"{name}_{file}")(implementation).plot_definition
    return definition(**({"metric": ["accuracy", "margin"]} if file == "{metric}" else {}))


def line(view: PlotView) -> Figure:
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([1, 2])
    return figure


def bad(view: PlotView) -> Figure:
    plt.figure()
    raise ZeroDivisionError("no luck")


def leaving(view: PlotView) -> Figure:
    raise SystemExit("gone")


def boneless(view: PlotView) -> Any:
    return "a drawing"


def misspelt(view: PlotView) -> Figure:
    view.run.profile("val", "mragin")
    return line(view)


def unwritable(view: PlotView) -> Figure:
    figure = line(view)
    figure.text(0, 0, r"$\unheard$")
    return figure


def undefined(view: PlotView) -> Figure:
    raise UndefinedError(f"no {view.metric} today")


def drawn(plots: list[Plot], runs: RunSet, folder: Path, **options: Any) -> list[Drawn]:
    return list(draw(tasks(plots, runs), folder, dpi=20, **options))


def files(folder: Path) -> list[str]:
    """The names of all files of a folder, hidden ones too; none where there is no folder."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# Files


def test_the_files_have_the_names_that_are_documented(two: RunSet, tmp_path: Path) -> None:
    options = {"metric": "margin", "layer": "layer_1", "phase": "val"}
    chosen = [plot.with_what_it_takes(options) for plot in PLOTS.values()]
    found = [t.plot.file_name(t.view) for t in tasks(chosen, two) if t.view is not None]
    assert sorted(found) == FILES.split()
    pictures = drawn(chosen[:2], two, tmp_path, policy="raise")
    assert {picture.path.name for picture in pictures if picture.path} == set(files(tmp_path))


@pytest.mark.parametrize(
    ("form", "beginning"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_a_picture_in_the_form_that_is_asked_for_replaces_the_one_of_before(
    one: RunSet, tmp_path: Path, form: str, beginning: bytes
) -> None:
    assert form in FORMATS
    (tmp_path / f"line_.{form}").write_text("old")
    (picture,) = drawn([made(line, "")], one, tmp_path, form=form)
    assert picture.path == tmp_path / f"line_.{form}"
    assert files(tmp_path) == [picture.path.name]
    assert picture.path.read_bytes().startswith(beginning)
    assert picture.path.read_bytes() == render(made(line, ""), picture.task.view, form, 20)


def test_dots_per_inch_are_those_of_the_file(one: RunSet) -> None:
    (task,) = tasks([made(line, "")], one)
    widths = [int.from_bytes(render(task.plot, task.view, "png", d)[16:20]) for d in (50, 200)]
    assert widths == [50, 200]


def test_the_folder_is_made_when_there_is_something_to_put_there(
    one: RunSet, tmp_path: Path
) -> None:
    drawn([made(undefined)], one, tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    drawn([made(line)], one, tmp_path / "a" / "b")
    assert files(tmp_path / "a" / "b") == ["line_accuracy.png", "line_margin.png"]


@pytest.mark.parametrize("hostile", ["a/b", "a\\b", "a\0b", "a\nb", "a\udc80b", "../b", "a:b"])
def test_what_no_file_may_be_called_is_replaced_and_collides_with_nothing(
    one: RunSet, tmp_path: Path, hostile: str
) -> None:
    plot = PLOTS["heatmap"]
    name = plot.file_name(PlotView(one, metric=hostile))
    (tmp_path / f"{name}.png").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    alike = "".join("_" if c in "/\\:" or not c.isprintable() else c for c in hostile)
    assert name.startswith(f"heatmap_{alike}_val_")
    assert name != plot.file_name(PlotView(one, metric=alike)) == f"heatmap_{alike}_val"


def test_the_file_of_a_long_name_can_be_written_and_is_its_own(one: RunSet, tmp_path: Path) -> None:
    views = [PlotView(one, metric="é" * 300 + ending) for ending in "ab"]
    names = [PLOTS["heatmap"].file_name(view) for view in views]
    assert len(set(names)) == 2
    for name in names:
        (tmp_path / f".{name}.png.12345678").write_text("")


# Reasons and failures


def test_a_reason_stands_in_place_of_a_picture(one: RunSet, tmp_path: Path) -> None:
    pictures = drawn([made(undefined), made(line)], one, tmp_path)
    reasons = [picture.reason for picture in pictures]
    assert reasons == ["no accuracy today", "no margin today", None, None]
    assert all(picture.failure is None for picture in pictures)


def test_plots_that_compare_say_that_there_is_one_run(one: RunSet, tmp_path: Path) -> None:
    comparing = [PLOTS[name] for name in ("architecture_comparison", "differences", "multi_run")]
    reason = "it compares runs, and there is one"
    found = [task for task in tasks(PLOTS.values(), one) if task.view is None]
    assert found == [Task(plot, None, reason) for plot in comparing]
    assert [picture.reason for picture in draw(found, tmp_path)] == [reason] * 3


BROKEN = {
    bad: "ZeroDivisionError: no luck",
    leaving: "SystemExit: gone",
    boneless: "PluginError: expected a matplotlib Figure, got str",
    misspelt: "UsageError: run greedy_2_0: unknown metric 'mragin'; did you mean 'margin'?",
    unwritable: "ValueError: ",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("policy", "failures"), [("disable", 1), ("warn", 2)])
def test_a_plot_that_raises_costs_its_own_pictures_alone(
    one: RunSet, tmp_path: Path, broken: Callable[[PlotView], Any], policy: str, failures: int
) -> None:
    pictures = drawn([made(broken), made(line)], one, tmp_path, policy=policy)
    found = [picture.failure for picture in pictures if picture.failure is not None]
    assert len(found) == failures
    for failure in found:
        assert (failure.plugin, failure.hook) == (broken.__name__, DRAWING)
        assert failure.error.startswith(BROKEN[broken])
        assert failure.disabled == (policy == "disable")
        assert failure.traceback.startswith("Traceback")
    assert files(tmp_path) == ["line_accuracy.png", "line_margin.png"]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("broken", BROKEN)
def test_a_plot_that_raises_ends_all_where_that_is_the_policy(
    one: RunSet, tmp_path: Path, broken: Callable[[PlotView], Any]
) -> None:
    message = f"plugin '{broken.__name__}' raised in drawing: "
    with pytest.raises(PluginError, match=message) as told:
        drawn([made(broken), made(line)], one, tmp_path, policy="raise")
    assert told.value.__cause__ is not None
    assert files(tmp_path) == []


def test_an_interrupt_always_passes(one: RunSet, tmp_path: Path) -> None:
    def interrupted(view: PlotView) -> Figure:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn([made(interrupted)], one, tmp_path, policy="warn")


def test_a_damaged_file_is_not_the_plots_fault(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path, depth=2))
    (run.directory / "confusion.npy").write_text("no array")
    with pytest.raises(DataError, match=r"confusion\.npy' cannot be read"):
        drawn([PLOTS["confusion"]], RunSet((run,)), tmp_path / "plots")


def test_nothing_is_left_where_a_file_cannot_be_written_to_its_end(
    one: RunSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        drawn([made(line)], one, tmp_path)
    assert files(tmp_path) == []


# Figures and themes


def test_what_else_a_plot_opens_is_closed_and_what_was_open_stays(one: RunSet) -> None:
    def messy(view: PlotView) -> Figure:
        plt.figure()
        return line(view)

    (task,) = tasks([made(messy, "")], one)
    mine = plt.figure()
    render(task.plot, task.view)
    assert plt.get_fignums() == [mine.number]
    plt.close(mine)


def test_figures_can_be_kept_for_showing(one: RunSet, tmp_path: Path) -> None:
    drawn([made(line)], one, tmp_path, keeps_open=True)
    assert len(plt.get_fignums()) == 2
    plt.close("all")


def test_a_theme_does_not_outlast_its_picture(one: RunSet) -> None:
    (task,) = tasks([made(line, "")], one)
    before = dict(mpl.rcParams)
    svg = render(task.plot, task.view, "svg")
    assert b"#1d2026" in svg  # the colour of text, which a dark page has in another
    assert b"#1b1d22" not in svg
    assert b"#1b1d22" in on_dark_pages(svg)
    assert dict(mpl.rcParams) == before


# Options


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("heatmap", {"metrics": "margin"}, "unknown option 'metrics'; did you mean 'metric'?"),
        ("heatmap", {"layer": "layer_1"}, "unknown option 'layer'; known: metric, phase"),
        ("training_curves", {"phase": "val"}, "training_curves takes no options"),
        ("heatmap", {"phase": "vall"}, "unknown phase 'vall'; did you mean 'val'?"),
        ("heatmap", {"phase": ["val", "tests"]}, "unknown phase 'tests'; did you mean 'test'?"),
        *(
            ("heatmap", {"metric": wrong}, "metric: expected a name or a list of names")
            for wrong in ("", [], [1], None, 3, True)
        ),
        ("confusion", {"normalize": "yes"}, "normalize: expected true or false"),
    ],
)
def test_a_wrong_option_is_told_with_the_rule(
    label: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as told:
        PLOTS[label].definition(**options)
    assert str(told.value) == f"plot '{label}': {message}"


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("heatmap", {"metric": "marginn"}, "unknown metric 'marginn'; did you mean 'margin'?"),
        (
            "timeline",
            {"metric": "margin", "layer": "layer_11"},
            "unknown layer 'layer_11'; did you mean 'layer_1'?",
        ),
        ("timeline", {"layer": "conv"}, "unknown layer 'conv'; known: head, layer_0, layer_1"),
    ],
)
def test_what_no_run_has_is_told_with_the_nearest_name(
    two: RunSet, label: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as told:
        tasks([PLOTS[label].definition(**options)], two)
    assert str(told.value) == message


def test_a_plot_is_drawn_once_for_each_of_its_choices(two: RunSet) -> None:
    asked = PLOTS["multi_run"].definition(
        metric=["margin", "accuracy"], layer=["layer_0", "head"], phase=["val", "train"]
    )
    assert [(v.metric, v.layer, v.phase) for v in asked.views(two)] == [
        (metric, layer, phase)
        for metric in ("margin", "accuracy")
        for layer in ("layer_0", "head")
        for phase in ("val", "train")
    ]


def test_without_options_all_metrics_are_drawn_at_the_outputs(two: RunSet) -> None:
    views = list(PLOTS["timeline"].views(two))
    assert [view.metric for view in views[::2]] == list(two.headlines)
    assert {view.layer for view in views} == {"layer_1", "head"}
    assert [view.normalized for view in PLOTS["confusion"].views(two)] == [False, True]


@pytest.mark.parametrize(
    ("label", "own", "taken"),
    [
        ("heatmap", {}, {"metric": "margin"}),
        ("confusion", {}, {"normalize": True}),
        ("research_questions", {}, {}),
        ("heatmap", {"phase": "test"}, {"phase": "test", "metric": "margin"}),
    ],
)
def test_a_plot_keeps_its_options_and_takes_of_others_those_that_it_has(
    label: str, own: dict[str, Any], taken: dict[str, Any]
) -> None:
    plot = PLOTS[label].definition(**own)
    assert plot.with_what_it_takes({"metric": "margin", "normalize": True}).options == taken


def test_a_file_name_has_choices_that_there_are() -> None:
    declare = plot("losses", file="losses_{fase}")
    with pytest.raises(UsageError) as told:
        declare(line)
    assert str(told.value) == (
        "@plot('losses'): file: unknown choice 'fase'; did you mean 'phase'?"
    )


@pytest.mark.parametrize("file", ["", "x_{}", "x_{metric:d}", "x_{metric!r}"])
def test_a_file_name_that_cannot_be_made_is_told_at_once(file: str) -> None:
    declare = plot("losses", file=file)
    with pytest.raises(UsageError, match=r"@plot\('losses'\): file: "):
        declare(line)


def test_what_is_under_no_decorator_is_no_plot() -> None:
    with pytest.raises(UsageError, match=r"put @plot\(...\) above it"):
        definition_of(files, "plot")


# Views


def test_a_view_of_several_runs_has_no_only_run(one: RunSet, two: RunSet) -> None:
    assert PlotView(one).run is one.runs[0]
    several = PlotView(two)
    with pytest.raises(UndefinedError, match="it shows one run, and there are several"):
        several.run  # noqa: B018


def test_a_view_answers_for_a_group(two: RunSet) -> None:
    view = PlotView(two)
    assert [group.label for group in view.groups] == ["greedy", "mlp"]
    assert view.answer(view.groups[0], "compressing").seeds == 1


def test_a_run_of_older_scripts_is_drawn_as_far_as_it_goes(tmp_path: Path) -> None:
    old = RunSet((with_installed_metric_info(load_run(write_old_run(tmp_path))),))
    without = {"confusion", "cka_matrix", "eigenspectrum", "multi_run"}
    some = [PLOTS[label] for label in sorted({"training_curves", "train_val"} | without)]
    pictures = drawn(some, old, tmp_path / "plots", policy="raise")
    assert {x.task.plot.label for x in pictures if x.path is None} >= without
    assert {"basic_training_curves.png", "train_val_comparison_probe_accuracy.png"} <= set(
        files(tmp_path / "plots")
    )
    assert all(picture.reason for picture in pictures if picture.path is None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text.usetex", True),
        ("path.sketch", (1, 100, 2)),
        ("savefig.bbox", "tight"),
        ("savefig.facecolor", "red"),
        ("font.family", ["monospace"]),
        ("axes.facecolor", "green"),
        ("figure.autolayout", True),
        ("axes.formatter.use_locale", True),
        ("lines.linestyle", ":"),
    ],
)
def test_a_user_s_matplotlibrc_changes_no_picture(one: RunSet, key: str, value: Any) -> None:
    view = PlotView(one, metric="margin", layer="layer_1")
    expected = render(PLOTS["timeline"], view, "svg")
    with mpl.rc_context({key: value}):
        assert render(PLOTS["timeline"], view, "svg") == expected
        assert mpl.rcParams[key] == value
