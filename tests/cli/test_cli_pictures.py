"""Tests of `cmp plot`, `cmp compare`, `cmp report`, `cmp train`, and of how `cmp run` ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cmp_core import load_run
from cmp_core.analysis.questions import QUESTIONS
from cmp_core.cli import cli
from cmp_core.plotting.plot import select_plots
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import definition_of
from tests.synthetic_runs import write_old_run, write_run

Run = subprocess.CompletedProcess[str]
Cmp = Callable[..., Run]

ROOT = Path(__file__).parents[2]

PLOT = '''
from matplotlib.figure import Figure
from cmp_core import hookimpl, plot

@plot("mine", file="mine_{{metric}}", answers={answers})
def mine(view):
    """What I always wanted to see."""
    {first}
    figure = Figure((2, 1))
    figure.subplots().plot(view.run.profile(view.phase, view.metric))
    return figure

@hookimpl
def cmp_register_plots(register):
    register(mine)
'''


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window, no colours that someone has asked for, and matplotlib's choice is put back."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, whole and damaged, and of other things; tests do not change it."""
    here = tmp_path_factory.mktemp("here")
    greedy = write_run(here).rename(here / "A")
    write_run(here, model="mlp", depth=6).rename(here / "B")
    write_run(here, seed=1).rename(here / "C")
    write_old_run(here).rename(here / "old")
    for name in ("empty", "unlogged", "confused", "unpredicted", "unparsed", "unmeasured"):
        shutil.copytree(greedy, here / name)
    for name in ("empty", "unlogged"):
        for file in ("test_results.json", "test_predictions.npz", "confusion.npy"):
            (here / name / file).unlink()
    (here / "empty" / "log.jsonl").write_text("")
    (here / "unlogged" / "log.jsonl").unlink()
    (here / "confused" / "confusion.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (here / "unpredicted" / "test_predictions.npz").write_bytes(b"PK\x03\x04 half of it")
    (here / "unparsed" / "params.yaml").write_text("model: [greedy\n")
    (here / "unmeasured" / "metrics.json").write_text('{"accuracy": ')
    (here / "link").symlink_to(greedy)
    (here / "loop").symlink_to("loop")
    (here / "folder").mkdir()
    (here / "file").write_text("")
    (here / "broken.py").write_text("def half(:\n")
    (here / "idle.py").write_text("import cmp_core\n")
    (here / "braces.py").write_text(PLOT.format(answers=False, first="").replace("{m", "{x"))
    return here


@pytest.fixture
def copy(here: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies a run, so that it can be changed."""

    def copied(name: str, to: str = "copy") -> Path:
        return Path(shutil.copytree(here / name, tmp_path / to))

    return copied


def call(*arguments: object) -> Result:
    """Call the command line in this process; whatever comes, it is no traceback and no colour."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="cmp")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    return result


def content(folder: Path) -> dict[str, tuple[int, int]]:
    """All that is in a folder, with its size and when it was changed."""
    paths = sorted(folder.rglob("*"))
    return {str(path): (s.st_size, s.st_mtime_ns) for path in paths for s in [path.lstat()]}


# Coming from scripts


def migrations() -> list[tuple[str, str]]:
    """The rows of the table in `docs/migration.md`."""
    text = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", text, re.M)


SCRIPTS = {
    "run_simulation.py": ("", "--show", "--research_only", "--compare_runs A B"),
    "train.py": ("--config",),
    "eval.py": ("--run_dir A", "--confusion"),
    "plot_metrics.py": (
        "--run_dirs A",
        "--run_dirs A B",
        "--comprehensive",
        "--basic_curves",
        "--confusion",
        "--heatmap",
        "--train_val",
        "--overview",
        "--distributions",
        "--architecture_comparison",
        "--correlation",
        "--layer_progression",
        "--timeline margin --layer layer_2",
    ),
    "plot_curves.py": ("--run_dir A",),
    "show_confusion.py": ("--run_dir A",),
}


@pytest.mark.parametrize(
    ("script", "options"), [(name, option) for name, many in SCRIPTS.items() for option in many]
)
def test_every_way_to_call_the_scripts_has_a_row(script: str, options: str) -> None:
    assert any(old.split()[0] == script and options in old for old, _ in migrations())


@pytest.mark.parametrize(("old", "new"), migrations())
def test_every_row_is_a_real_command(
    old: str, new: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    assert old.split()[0] in SCRIPTS
    program, name, *arguments = shlex.split(new)
    assert program == "cmp"
    context = cli.commands[name].make_context(name, list(arguments))
    given = context.params
    if name == "plot":
        types = load_plugins(built_ins=("cmp_plots",)).registry.names("plot")
        assert given["kind"] in (*types, "all")
    paths = {"run": given.get("compared"), "eval": (given.get("run"),)}.get(name, given.get("runs"))
    assert set(paths or ()) <= {"A", "B"}
    assert ("B" in old.split()) == ("B" in (paths or ()))
    assert ("--show" in old or "show_confusion" in old) == bool(given.get("show"))
    assert ("margin" in old) == (given.get("metric") == "margin")


# Help


def test_the_help_of_plot_lists_every_type_in_a_line() -> None:
    registry = load_plugins(built_ins=("cmp_plots",)).registry
    files = {path.stem for path in (ROOT / "cmp_plots").glob("[!_]*.py")}
    assert files <= set(registry.names("plot"))
    shown = " ".join(call("plot", "--help").stdout.partition("Types:")[2].split())
    for name in registry.names("plot"):
        summary = definition_of(registry.get("plot", name).factory, "plot").summary
        assert summary.endswith(".")
        assert f"{name} {summary}" in shown


@pytest.mark.parametrize("command", ["plot", "compare", "report", "train", "run"])
def test_every_help_has_examples_that_parse(
    command: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    shown = call(command, "--help").stdout.partition("Examples:")[2].partition("Exit codes")[0]
    examples = re.findall(r"^ *cmp (.+)$", shown.replace(" && cmp ", "\n  cmp "), re.M)
    assert examples
    for name, *arguments in map(shlex.split, examples):
        cli.commands[name].make_context(name, list(arguments))


# Without torch

BLOCKED = """
import sys
asked = []
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            asked.append(name)
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocked())
from cmp_core.cli import cli
def cmp(*arguments):
    try:
        cli(arguments, prog_name="cmp")
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
A, B, C, old = sys.argv[1:]
cmp("plot", "--help")
cmp("plot", "training_curves", A, "--out", "one")
cmp("plot", "multi_run", A, B, "--metric", "margin", "--out", "two")
cmp("report", A, C, "--out", "report.html")
from cmp_core.cli.compare import compare_command
from cmp_core.cli import _pictures
every = _pictures.load_plots
_pictures.load_plots = lambda: [plot for plot in every() if plot.definition.answers]
cmp("compare", A, B, "--out", "three")
_pictures.load_plots = every
assert asked == [], asked
cmp("plot", "layerwise", old, "--metric", "probe_accuracy", "--out", "four")
cmp("report", old, "--out", "old.html")
"""


def test_pictures_comparisons_and_reports_need_no_torch(here: Path) -> None:
    runs = [str(here / name) for name in ("A", "B", "C", "old")]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *runs],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {str(path) for path in Path().rglob("*.[ph]*") if path.is_file()} == {
        "one/basic_training_curves.png",
        "two/multi_run_margin_layer_3_val.png",
        "two/multi_run_margin_head_val.png",
        "three/research_questions.png",
        "four/layerwise_probe_accuracy_val.png",
        "report.html",
        "old.html",
    }


# Wrong input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # What is no run
        ("plot all nope", "nope' does not exist"),
        ("plot all loop", "loop' does not exist"),
        ("plot all folder", "folder' is not a run directory: it has no params.yaml"),
        ("plot all .", "is not a run directory: it has no params.yaml; did you mean"),
        ("plot all file", "file'"),
        ("plot all A/log.jsonl", "A/log.jsonl'"),
        ("report A nope", "nope' does not exist"),
        ("compare A folder", "is not a run directory"),
        ("run --compare nope", "nope' does not exist"),
        # Runs that have nothing yet
        ("plot all unlogged", "has no log.jsonl: there is nothing to show yet"),
        ("plot all empty", "there is nothing to show yet"),
        ("plot heatmap empty --metric margin", "there is nothing to show yet"),
        ("report empty", "there is nothing to show yet"),
        ("compare A unlogged", "has no log.jsonl"),
        ("run --compare unlogged", "has no log.jsonl"),
        # What is not there to be drawn
        ("plot confusion old", "confusion: no run has a confusion matrix"),
        ("plot cka_matrix old", "cka_matrix: no matrices of pairs of layers in val"),
        ("plot multi_run A", "multi_run: it compares runs, and there is one"),
        ("plot heatmap old --phase test", "there is nothing to draw"),
        # Names
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
        ("compare A B --metric margin", "No such option"),
        ("train --plots heatmap", "No such option"),
        ("run --plots heatmp", "unknown plot 'heatmp'; did you mean 'heatmap'?"),
        ("run --plots '{name: heatmap, layer: head}'", "unknown option 'layer'"),
        # Labels
        ("plot heatmap A --labels a,b", "expected a label for each of the 1 runs, got 2"),
        ("plot heatmap A B --labels a,b,", "expected a label for each of the 2 runs, got 3"),
        ("compare A B --labels a", "expected a label for each of the 2 runs, got 1"),
        ("report A B --labels ''", "expected a label for each of the 2 runs, got 1"),
        # Options
        ("plot", "Missing argument 'TYPE'"),
        ("plot all", "Missing argument 'RUN...'"),
        ("compare", "Missing argument 'RUN...'"),
        ("report", "Missing argument 'RUN...'"),
        ("plot heatmap A --dpi 5", "5 is not in the range 30<=x<=1200"),
        ("plot heatmap A --dpi 1e9", "'1e9' is not a valid integer"),
        ("compare A B --dpi 100000", "100000 is not in the range"),
        ("plot heatmap A --format gif", "'gif' is not one of 'png', 'svg', 'pdf'"),
        ("compare A B --format jpg", "'jpg' is not one of"),
        ("compare A", "give two different runs or more"),
        ("compare A A/", "give two different runs or more"),
        ("compare A folder/../A", "give two different runs or more"),
        ("compare A link", "give two different runs or more"),
        ("compare A B --out file", "Directory 'file' is a file"),
        # Where to write
        ("plot heatmap A --out file", "Directory 'file' is a file"),
        ("plot heatmap A --out file/below/it", "cannot write to 'file/below/it': '"),
        ("compare A B --out file/below", "is a file; choose another place with --out"),
        ("report A --out file/page.html", "--out: there is no folder 'file'"),
        ("report A --out none/page.html", "--out: there is no folder 'none'"),
        ("report A --out folder", "File 'folder' is a directory"),
        ("report A --out ''", "--out: expected the name of a file, got the folder '.'"),
        # Damaged files
        ("plot confusion confused", "confusion.npy' cannot be read: "),
        ("run --compare confused", "confusion.npy' cannot be read: "),
        ("plot research_questions unpredicted", "test_predictions.npz' cannot be read: "),
        ("report unpredicted", "test_predictions.npz' cannot be read: "),
        ("compare unpredicted B", "test_predictions.npz' cannot be read: "),
        ("run --compare unpredicted", "test_predictions.npz' cannot be read: "),
        ("report unparsed", "params.yaml' is not valid YAML (line 2"),
        # Plugins
        ("plot mine A -p none.py", "-p none.py: there is no such file"),
        ("plot mine A -p broken.py", "plugin 'broken.py' could not be loaded: SyntaxError"),
        ("plot mine A -p idle.py", "idle.py: it implements no hook"),
        ("plot mine A -p braces.py", "file: unknown choice 'xetric'; did you mean 'metric'?"),
        ("plot mine A -p no:heatmap", "unknown plugin 'heatmap'; did you mean 'heatmap_plot'?"),
        ("plot heatmap A -p no:heatmap_plot", "unknown plot 'heatmap'"),
        ("report A --plugins-dir file", "--plugins-dir: 'file' is not a folder"),
    ],
)
def test_wrong_input_is_told_in_a_sentence_and_writes_nothing(
    arguments: str, message: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    before = content(here)
    result = call(*shlex.split(arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(re.findall(r"^error: ", result.stderr, re.M | re.I)) == 1
    assert result.stdout == ""
    after = {path: facts for path, facts in content(here).items() if "__pycache__" not in path}
    assert after == {path: facts for path, facts in before.items() if "__pycache__" not in path}


def test_files_that_nobody_may_write_are_told_before_any_work(
    copy: Callable[..., Path], tmp_path: Path
) -> None:
    run, closed = copy("A"), tmp_path / "closed"
    closed.mkdir()
    for folder in (run, closed):
        folder.chmod(0o555)
    as_anyone = []
    if os.geteuid() == 0:  # root may write anywhere, unless it gives up the right to
        if shutil.which("setpriv") is None:
            pytest.skip("root cannot give up its rights here")
        rights = "-dac_override,-dac_read_search"
        as_anyone = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    code = (
        "import sys\nfrom cmp_core.cli import cli\n"
        "for line in sys.argv[1:]:\n"
        "    try:\n        cli(line.split('|'))\n"
        "    except SystemExit as end:\n        print(end.code)\n"
    )
    lines = [
        f"report|{run}",
        f"report|{run}|--out|{closed}/page.html",
        f"plot|all|{run}",
        f"plot|heatmap|{run}|--out|{closed}/below/it",
    ]
    done = subprocess.run(
        [*as_anyone, sys.executable, "-c", code, *lines],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    for folder in (run, closed):
        folder.chmod(0o755)
    assert done.stdout.split() == ["2"] * len(lines)
    told = done.stderr.splitlines()
    end = "; choose another place with --out"
    assert told == [
        f"error: cannot write to '{run}': it is read-only{end}",
        f"error: cannot write to '{closed}': it is read-only{end}",
        f"error: cannot write to '{run}/plots': '{run}' is read-only{end}",
        f"error: cannot write to '{closed}/below/it': '{closed}' is read-only{end}",
    ]


# What is damaged in part


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


def test_damaged_facts_of_metrics_are_warned_about(here: Path, tmp_path: Path) -> None:
    options = ["-p", "no:research_questions_plot", "--out", tmp_path / "page.html"]
    result = call("report", here / "unmeasured", *options)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: '{here}/unmeasured/metrics.json' is left out: ")
    page = (tmp_path / "page.html").read_text()
    assert "metrics.json&#39; is left out" in page
    assert '<span class="verdict yes">' in page  # by the facts of the installed metrics


def test_one_run_of_several_may_have_nothing_yet(here: Path, tmp_path: Path) -> None:
    options = ["-p", "no:research_questions_plot", "--out", tmp_path / "page.html"]
    result = call("report", here / "A", here / "empty", *options)
    assert result.exit_code == 0
    assert "holds no training step and no epoch that can be read" in result.stderr


def test_damaged_predictions_do_not_keep_other_plots_back(here: Path, tmp_path: Path) -> None:
    result = call("plot", "training_curves", here / "unpredicted", "--out", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")


# Pictures


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


def test_a_report_stands_without_the_plot_that_raises(here: Path) -> None:
    Path("my_plot.py").write_text(PLOT.format(answers=True, first="1 / 0"))
    options = ["-p", "my_plot.py", "-p", "no:research_questions_plot", "--out", "page.html"]
    result = call("report", here / "A", *options)
    assert result.exit_code == 3
    assert result.stdout == "page.html\n"
    assert result.stderr == (
        "warning: plugin mine raised in the report: ZeroDivisionError: division by zero\n"
    )
    assert "Are layers compressing?" in Path("page.html").read_text()


def test_installed_plots_that_are_broken_are_told(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = Path("broken_plots-1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plots\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[cmp.plugins]\nbroken_plots = broken_plots\n")
    Path("broken_plots.py").write_text("raise RuntimeError('no such luck')\n")
    monkeypatch.syspath_prepend(Path.cwd())
    result = call("plot", "theirs", here / "A")
    assert result.exit_code == 2
    told, error = result.stderr.splitlines()
    assert told.startswith("warning: plugin 'broken_plots'")
    assert "RuntimeError: no such luck" in told
    assert error.startswith("error: unknown plot 'theirs'; ")


# Comparisons


def test_runs_of_different_depth_are_compared(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [
        one
        for one in select_plots(load_plugins(built_ins=("cmp_plots",)))
        if one.label in ("architecture_comparison", "research_questions", "training_curves")
    ]
    monkeypatch.setattr("cmp_core.cli._pictures.load_plots", lambda: few)
    result = call("compare", here / "A", here / "B", "--out", "figures", "--dpi", "30")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = {line[:36].strip(): line[36:].split() for line in result.stdout.splitlines()}
    a, b = (load_run(here / name) for name in ("A", "B"))
    assert rows["test accuracy"] == ["greedy", "mlp"]
    assert rows["seeds"] == ["0", "0"]
    for layer, accuracy in b.test_accuracies.items():
        both = [a.test_accuracies.get(layer), accuracy]
        assert rows[layer] == [f"{x:.4f}" for x in both if x is not None]
    layers = [name for name in rows if re.fullmatch(r"layer_\d|head", name)]
    assert layers == [*(f"layer_{i}" for i in range(6)), "head"]
    for title in QUESTIONS.values():
        assert set(rows[title]) <= {"yes*", "no*", "inconclusive*"}
    assert "* one seed: the verdict describes that run" in result.stdout
    effect = 100 * (b.test_accuracies["head"] - a.test_accuracies["layer_3"])
    assert f"mlp − greedy: {effect:+.2f} points of output accuracy, p " in result.stdout
    names = {path.name for path in Path("figures").iterdir()}
    assert f"{len(names)} pictures in figures" in result.stdout
    assert {"research_questions.png", "architecture_comparison_margin.png"} < names
    assert "basic_training_curves.png" not in names  # it compares nothing


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons draw nothing, which takes most of their time."""
    monkeypatch.setattr("cmp_core.cli._pictures.load_plots", lambda *_: [])


@pytest.mark.usefixtures("_no_pictures")
def test_seeds_are_averaged_in_a_comparison(here: Path) -> None:
    result = call("compare", *(here / name for name in "ACB"))
    accuracies = [load_run(here / name).test_accuracies["layer_3"] for name in "AC"]
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    (row,) = re.findall(r"layer_3 +(.+)", result.stdout)
    assert row.startswith(f"{mean:.4f} ± {deviation:.4f} ")
    assert re.search(r"seeds +0, 1 +0", result.stdout)
    assert "no test: one seed on a side" in result.stdout


@pytest.mark.usefixtures("_no_pictures")
def test_labels_join_runs_and_brackets_are_text(copy: Callable[..., Path], here: Path) -> None:
    run = copy("C")
    params = json.loads((run / "params.yaml").read_text()) | {"seed": "[/x]"}
    (run / "params.yaml").write_text(json.dumps(params))
    result = call("compare", here / "A", here / "B", run, "--labels", "[red],[/b] b, [red]")
    assert result.exit_code == 0
    head, *_ = result.stdout.strip().splitlines()
    assert head.split()[2:] == ["[red]", "[/b]", "b"]
    assert re.search(r"seeds +0, \[/x\] +0", result.stdout)


@pytest.mark.usefixtures("_no_pictures")
def test_runs_without_seed_or_test_are_compared(here: Path, tmp_path: Path) -> None:
    run = write_old_run(tmp_path)
    (run / "test_results.json").unlink()
    result = call("compare", run, here / "A")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"seeds +– +0", result.stdout)
    assert "points of output accuracy" not in result.stdout


# Surroundings


def test_windows_without_a_display_are_warned_about(
    cmp: Cmp, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MPLBACKEND")
    done = cmp("plot", "training_curves", here / "A", "--show", "--out", Path.cwd() / "figures")
    assert done.returncode == 0
    assert done.stdout == f"{Path.cwd()}/figures/basic_training_curves.png\n"
    assert done.stderr == (
        "warning: --show: there is no display to open windows on; "
        "the files are written all the same\n"
    )


def test_a_notebook_s_backend_that_is_not_installed_here_is_no_matter(
    cmp: Cmp, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_not_here.backend_inline")
    arguments = ["plot", "training_curves", here / "A", "--out", Path.cwd()]
    done = cmp(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    shown = cmp(*arguments, "--show")
    assert shown.returncode == 2
    assert shown.stderr.startswith("error: --show: MPLBACKEND is 'module://matplotlib_not_here")


def test_a_narrow_encoding_shows_codes(cmp: Cmp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = cmp("run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "{name: \\u2026, metric: \\u2026, layer: \\u2026}" in done.stdout


def test_a_folder_whose_name_is_no_text_is_reported(copy: Callable[..., Path]) -> None:
    name = os.fsdecode(b"caf\xe9")
    try:
        run = copy("A", name)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = call("report", run, "-p", "no:research_questions_plot")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "caf?/params.yaml" in (run / "report.html").read_text()


# cmp run and cmp train

QUICK = ["--set", "epochs=1", "--set", "N=24", "--set", "layers=2", "--set", "device=cpu"]


def directory(result: Result) -> Path:
    (path,) = re.findall(r"^run directory (.+)$", result.stdout, re.M)
    return Path(path)


def test_a_run_ends_with_pictures_a_report_and_verdicts_and_training_does_not() -> None:
    metrics = ["--metrics", "accuracy,linear_cka"]
    result = call("run", *QUICK, *metrics, "--plots", "{name: heatmap, metric: accuracy}")
    assert (result.exit_code, result.stderr) == (0, "")
    run = directory(result)
    assert [path.name for path in (run / "plots").iterdir()] == ["heatmap_accuracy_val.png"]
    assert f"files in {run}: report.html, 1 picture in plots\n" in result.stdout
    lines = result.stdout.splitlines()
    for title in QUESTIONS.values():
        assert any(re.match(rf" {re.escape(title)} +(yes|no|inconclusive) ", x) for x in lines)
    assert "one seed: the verdicts describe this run" in result.stdout
    assert "<h1>greedy on digits</h1>" in (run / "report.html").read_text()

    trained = call("train", *QUICK, *metrics)
    assert (trained.exit_code, trained.stderr) == (0, "")
    other = directory(trained)
    assert trained.stdout.endswith(
        f"files in {other}\ntest the best weights with: cmp eval {other}\n"
    )
    assert not any(title in trained.stdout for title in QUESTIONS.values())
    for name in ("plots", "report.html", "test_results.json"):
        assert not (other / name).exists()


def test_a_run_is_compared_and_its_research_plots_alone_are_drawn(here: Path) -> None:
    options = ["--research-only", "--compare", here / "B", "--show", "--metrics", "accuracy"]
    result = call("run", *QUICK, *options)
    assert result.exit_code == 0
    assert "--show: there is no display to open windows on" in result.stderr
    run = directory(result)
    assert [path.name for path in (run / "plots").iterdir()] == ["research_questions.png"]
    page = (run / "report.html").read_text()
    assert "<h1>greedy and mlp on digits</h1>" in page
    assert "files in" in result.stdout


def test_several_runs_are_drawn_side_by_side_at_the_end_of_one(here: Path) -> None:
    plots = "{name: architecture_comparison, metric: accuracy},training_curves"
    options = ["--compare", here / "B", "--metrics", "accuracy", "--plots", plots]
    result = call("run", *QUICK, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    names = {path.name for path in (directory(result) / "plots").iterdir()}
    assert names == {"architecture_comparison_accuracy.png", "basic_training_curves.png"}


def test_a_plot_that_raises_at_the_end_of_a_run_costs_exit_code_3() -> None:
    Path("my_plot.py").write_text(PLOT.format(answers=True, first="raise SystemExit(0)"))
    result = call("run", *QUICK, "--metrics", "accuracy", "--plots", "mine", "-p", "my_plot.py")
    assert result.exit_code == 3
    run = directory(result)
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: plugin mine was switched off in drawing: SystemExit: 0 ")
    assert "raise SystemExit(0)" in (run / "plugin_errors.log").read_text()
    assert f"files in {run}: report.html\n" in result.stdout
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
