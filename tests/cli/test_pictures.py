"""What the commands that draw have in common: windows, places to write to, and no need of torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cmp_core.cli._pictures import reasons_of
from tests.cli.calls import ROOT, Cmp

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
from cmp_core.plotting import plot
every = plot.load_plots
plot.load_plots = lambda: [one for one in every() if one.definition.answers]
cmp("compare", A, B, "--out", "three")
plot.load_plots = every
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
        "three/differences.png",
        "four/layerwise_probe_accuracy_val.png",
        "report.html",
        "old.html",
    }


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
    end = "; choose another place"
    assert told == [
        f"error: cannot write to '{run}': it is read-only{end}",
        f"error: cannot write to '{closed}': it is read-only{end}",
        f"error: cannot write to '{run}/plots': '{run}' is read-only{end}",
        f"error: cannot write to '{closed}/below/it': '{closed}' is read-only{end}",
    ]


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


def test_a_reason_is_told_once_for_all_plots_metrics_and_layers() -> None:
    plots = {name: SimpleNamespace(label=name) for name in ("timeline", "heatmap", "multi_run")}
    drawn = [
        SimpleNamespace(
            path=None,
            reason=f"no value of {metric} at layer_{layer}",
            task=SimpleNamespace(
                plot=plots[plot], view=SimpleNamespace(metric=metric, layer=f"layer_{layer}")
            ),
        )
        for plot in ("timeline", "heatmap")
        for metric in ("margin", "alignment")
        for layer in range(27)
    ]
    alone = SimpleNamespace(
        path=None, reason="one run", task=SimpleNamespace(plot=plots["multi_run"], view=None)
    )
    assert reasons_of([*drawn, alone]) == [
        "timeline, heatmap: no value of margin, alignment at layer_0–layer_26",
        "multi_run: one run",
    ]
