"""Tests of `cmp_core.__main__`: the program as an installer leaves it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_waiting_threads_sleep_soon_unless_the_environment_says_otherwise(
    given: dict[str, str], spins: str
) -> None:
    code = (
        "import os, sys\nfrom cmp_core.__main__ import main\nsys.argv = ['cmp', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ.get('GOMP_SPINCOUNT'))\n"
    )
    unset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | given
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == spins
