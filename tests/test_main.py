"""Tests of `cmp_core.__main__`: the program as an installer leaves it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.script import call_script


def test_help_shows_examples_and_imports_no_torch() -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['cmp', '--help']\n"
        "try:\n    runpy.run_module('cmp_core', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'scipy', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cmp run -c greedy_mnist" in done.stdout


def test_our_commands_win_over_files_of_their_name(script: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert "Train a network" in call_script(script, "run", "--help").stdout


def test_a_mistyped_command_is_ours(script: Path) -> None:
    done = call_script(script, "rnu")
    assert done.returncode == 2
    assert "unknown command 'rnu'; did you mean 'run'?" in done.stderr
    assert call_script(script, "--hlep").returncode == 2
    assert call_script(script, "--version").stdout.startswith("cmp, version ")
