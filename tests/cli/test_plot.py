"""Tests of `cmp plot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from tests.cli.calls import PLOT, ROOT, assert_refused, call
from tests.installed import install


def test_the_help_of_plot_lists_every_type_in_a_line() -> None:
    registry = load_plugins(built_ins=("cmp_plots",)).registry
    files = {path.stem for path in (ROOT / "cmp_plots").glob("[!_]*.py")}
    assert files <= set(registry.names("plot"))
    shown = " ".join(call("plot", "--help").stdout.partition("Types:")[2].split())
    for name in registry.names("plot"):
        summary = definition_of(registry.get("plot", name).factory, "plot").summary
        assert summary.endswith(".")
        assert f"{name} {summary}" in shown


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("plot all nope", "nope' does not exist"),
        ("plot all loop", "loop' does not exist"),
        ("plot all folder", "folder' is not a run directory: it has no params.yaml"),
        ("plot all file", "file'"),
        ("plot all A/log.jsonl", "A/log.jsonl'"),
        ("plot all unlogged", "has no log.jsonl: there is nothing to show yet"),
        ("plot all empty", "there is nothing to show yet"),
        ("plot heatmap empty --metric margin", "there is nothing to show yet"),
        ("plot confusion old", "confusion: no run has a confusion matrix"),
        ("plot cka_matrix old", "cka_matrix: no linear_cka of pairs of layers in val"),
        ("plot cka_matrix A --metric margin", "unknown metric of pairs of layers 'margin'"),
        ("plot multi_run A", "multi_run: it compares runs, and there is one"),
        ("plot heatmap old --phase test", "there is nothing to draw"),
        ("plot heatmp A", "unknown plot 'heatmp'; did you mean 'heatmap'?"),
        ("plot A heatmap", "unknown plot 'A'; "),
        ("plot '' A", "unknown plot ''; "),
        ("plot heatmap A --metric margn", "unknown metric 'margn'; did you mean 'margin'?"),
        ("plot heatmap A --metric margin,", "unknown metric ''; "),
        ("plot heatmap A --metric 'margin acuracy'", "unknown metric 'margin acuracy'; "),
        ("plot all A --metric margn", "did you mean 'margin'?"),
        ("plot timeline A --layer layer_22", "unknown layer 'layer_22'; did you mean 'layer_2'?"),
        ("plot timeline A --layer head", "unknown layer 'head'; known: layer_0, layer_1"),
        ("plot heatmap A --phase vall", "unknown phase 'vall'; did you mean 'val'?"),
        ("plot heatmap A --phase tset", "did you mean 'test'?"),
        ("plot training_curves A --metric margin", "training_curves takes no options"),
        ("plot heatmap A --layer layer_0", "unknown option 'layer'; known: metric, phase"),
        ("plot heatmap A --normalize", "unknown option 'normalize'"),
        ("plot heatmap A --labels a,b", "expected a label for each of the 1 runs, got 2"),
        ("plot heatmap A B --labels a,b,", "expected a label for each of the 2 runs, got 3"),
        ("plot", "missing argument 'TYPE'"),
        ("plot all", "missing argument 'RUN...'"),
        ("plot heatmap A --dpi 5", "5 is not in the range 30<=x<=1200"),
        ("plot heatmap A --dpi 1e9", "'1e9' is not a valid integer"),
        ("plot heatmap A --format gif", "'gif' is not one of 'png', 'svg', 'pdf'"),
        ("plot heatmap A --out file", "Directory 'file' is a file"),
        ("plot heatmap A --out file/below/it", "cannot write to 'file/below/it': '"),
        ("plot confusion confused", "confusion.npy' cannot be read: "),
        ("plot research_questions unpredicted", "test_predictions.npz' cannot be read: "),
        ("plot mine A -p none.py", "-p none.py: there is no such file"),
        ("plot mine A -p broken.py", "plugin 'broken.py' could not be loaded: SyntaxError"),
        ("plot mine A -p idle.py", "idle.py: it defines nothing under @metric or @plot"),
        ("plot mine A -p braces.py", "file: unknown choice 'xetric'; did you mean 'metric'?"),
        ("plot mine A -p no:heatmap", "unknown plugin 'heatmap'; did you mean 'heatmap_plot'?"),
        ("plot heatmap A -p no:heatmap_plot", "unknown plot 'heatmap'"),
    ],
)
def test_wrong_input_is_told_in_a_sentence_and_writes_nothing(command: str, message: str) -> None:
    assert_refused(command, message)


def test_a_log_that_is_cut_off_is_warned_about_and_drawn(copy: Callable[..., Path]) -> None:
    run = copy("A")
    whole = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text(whole + whole.splitlines()[0][:40])
    result = call("plot", "training_curves", run)
    assert result.exit_code == 0
    number = whole.count("\n") + 1
    assert result.stderr == (
        f"warning: '{run}/log.jsonl', line {number}: left out, it is not whole JSON\n"
    )
    assert result.stdout == f"{run}/plots/basic_training_curves.png\n"
    assert (run / "plots" / "basic_training_curves.png").is_file()


def test_damaged_predictions_do_not_keep_other_plots_back(here: Path, tmp_path: Path) -> None:
    result = call("plot", "training_curves", here / "unpredicted", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")


def test_one_picture_is_named_and_several_are_counted(here: Path) -> None:
    one = call("plot", "training_curves", here / "A", "--out", "figures", "--format", "svg")
    assert one.stdout == "figures/basic_training_curves.svg\n"
    two = call("plot", "confusion", here / "A", "--out", "figures/deep", "--dpi", "30")
    assert two.stdout == "2 pictures in figures/deep\n"
    names = {str(path) for path in Path().rglob("*.*")}
    assert names == {
        "figures/basic_training_curves.svg",
        "figures/deep/confusion_matrix.png",
        "figures/deep/confusion_matrix_normalized.png",
    }


def test_what_cannot_be_drawn_is_told_beside_what_is(here: Path) -> None:
    result = call("plot", "heatmap", here / "old", "--out", "figures", "--dpi", "30")
    assert result.exit_code == 0
    assert result.stdout == ("2 pictures in figures\n– heatmap: no value of house_metric in val\n")


def test_a_run_that_is_given_twice_is_one(copy: Callable[..., Path]) -> None:
    run = copy("A")
    result = call(
        "plot", "training_curves", run, f"{run}/", run.parent / "." / run.name, "--dpi=30"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{run}/plots/basic_training_curves.png\n"


def test_pictures_of_several_runs_go_to_the_current_folder(here: Path) -> None:
    result = call("plot", "heatmap", here / "A", here / "B", "--metric", "margin", "--dpi", "30")
    assert result.stdout == f"{Path.cwd()}/plots/heatmap_margin_val.png\n"


def test_a_plot_of_one_file_is_drawn(here: Path) -> None:
    Path("my_plot.py").write_text(PLOT.format(answers=False, first=""))
    options = ["-p", "my_plot.py", "--metric", "margin,accuracy", "--out", "figures"]
    result = call("plot", "mine", here / "A", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    names = sorted(path.name for path in Path("figures").iterdir())
    assert names == ["mine_accuracy.png", "mine_margin.png"]


def test_a_plot_that_raises_costs_exit_code_3_and_leaves_its_traceback(here: Path) -> None:
    Path("my_plot.py").write_text(PLOT.format(answers=False, first="{}[view.metric]"))
    options = ["-p", "my_plot.py", "--out", "figures"]
    result = call("plot", "mine", here / "A", *options)
    assert result.exit_code == 3
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line == (
        "warning: plugin mine was switched off in drawing: KeyError: 'accuracy' "
        "(traceback: figures/plugin_errors.log)"
    )
    (file,) = Path("figures").iterdir()
    assert "in mine\n    {}[view.metric]" in file.read_text()


def test_installed_plots_that_are_broken_are_told(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(Path.cwd(), "broken_plots", "raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(site)
    result = call("plot", "theirs", here / "A")
    assert result.exit_code == 2
    told, error, _ = result.stderr.splitlines()
    assert told.startswith("warning: plugin 'broken_plots'")
    assert "RuntimeError: no such luck" in told
    assert error.startswith("error: unknown plot 'theirs'; ")
