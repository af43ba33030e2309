"""Every call of the older scripts has a command that does the same."""

from __future__ import annotations

import re
import shlex

import pytest

from cmp_core.cli import cli
from cmp_core.plugins.loader import load_plugins
from tests.cli.calls import ROOT


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
@pytest.mark.usefixtures("_inside")
def test_every_row_is_a_real_command(old: str, new: str) -> None:
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
