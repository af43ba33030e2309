"""Tests of `cmp report`."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from cmp_core.runs.seed_baseline import SeedBaseline, SeedDifference
from tests.cli.calls import PLOT, assert_refused, call


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("report A nope", "nope' does not exist"),
        ("report empty", "there is nothing to show yet"),
        ("report A B --labels ''", "expected a label for each of the 2 runs, got 1"),
        ("report", "missing argument 'RUN...'"),
        (
            "report A --out file/page.html",
            "page.html': there is no folder 'file'",
        ),
        (
            "report A --out none/page.html",
            "page.html': there is no folder 'none'",
        ),
        ("report A --out folder", "File 'folder' is a directory"),
        ("report A --out ''", "expected the name of a file, got the folder '.'"),
        ("report unpredicted", "test_predictions.npz' cannot be read: "),
        ("report unparsed", "params.yaml' is not valid YAML (line 2"),
        ("report A --plugins-dir file", "--plugins-dir: 'file' is not a folder"),
    ],
)
def test_wrong_input_is_told_in_a_sentence_and_writes_nothing(command: str, message: str) -> None:
    assert_refused(command, message)


def test_damaged_facts_of_metrics_are_warned_about(here: Path, tmp_path: Path) -> None:
    options = ["-p", "no:research_questions_plot", "--out", tmp_path / "page.html"]
    result = call("report", here / "unmeasured", *options)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: '{here}/unmeasured/metrics.json' is left out: ")
    page = (tmp_path / "page.html").read_text()
    assert "metrics.json&#39; is left out" in page
    assert '<span class="verdict described">one seed' in page  # by facts of installed metrics


def test_one_run_of_several_may_have_nothing_yet(here: Path, tmp_path: Path) -> None:
    options = ["-p", "no:research_questions_plot", "--out", tmp_path / "page.html"]
    result = call("report", here / "A", here / "empty", *options)
    assert result.exit_code == 0
    assert "holds no training step and no epoch that can be read" in result.stderr


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


@pytest.fixture
def replicates(here: Path, copy: Callable[..., Path]) -> list[Path]:
    """Two seeds, each with a file that looks like a snapshot."""
    runs = [copy(here / "A", f"seed_{seed}") for seed in range(2)]
    for seed, run in enumerate(runs):
        params = run / "params.yaml"
        params.write_text(re.sub(r'"seed": \d+', f'"seed": {seed}', params.read_text()))
        (run / "activations").mkdir()
        (run / "activations" / "step_00000001.h5").touch()
    return runs


def report_of(runs: list[Path]) -> str:
    call("report", *runs, "-p", "no:research_questions_plot", "--out", "page.html")
    return Path("page.html").read_text()


def test_the_comparison_with_another_seed_is_stored_beside_the_page(
    replicates: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = SeedBaseline((SeedDifference("cka", 0.25, 0.5, 64, "test"),))
    module = SimpleNamespace(seed_baseline=lambda runs: baseline)
    monkeypatch.setitem(sys.modules, "cmp_core.analysis.seed_baseline", module)
    page = report_of(replicates)
    (stored,) = json.loads(Path("page.seed_baseline.json").read_text()).values()
    rows = [{"metric": "cka", "neighbours": 0.25, "same_layer": 0.5, "n": 64, "phase": "test"}]
    assert stored == {"rows": rows, "reason": None}
    assert '<th>cka</th><td class="n">64</td><td class="n">0.25</td>' in page


def test_what_cannot_be_compared_is_told_in_the_page(replicates: list[Path]) -> None:
    assert "was not compared: &#39;" in report_of(replicates)  # an empty file is no snapshot
    (replicates[0] / "activations" / "step_00000001.h5").unlink()
    assert "was not compared: seed_0 has no snapshots" in report_of(replicates)
    assert "another seed" not in report_of(replicates[:1])
    assert not Path("page.seed_baseline.json").exists()  # nothing of an earlier page stays


def test_a_page_can_be_written_without_torch(
    replicates: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "cmp_core.analysis.seed_baseline", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "measuring stored activations needs torch" in report_of(replicates)


def test_a_folder_whose_name_is_no_text_is_reported(copy: Callable[..., Path]) -> None:
    name = os.fsdecode(b"caf\xe9")
    try:
        run = copy("A", name)
    except OSError:
        pytest.skip("this file system takes no such name")
    result = call("report", run, "-p", "no:research_questions_plot")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "cmp report .\n" in (run / "report.html").read_text()
