"""Calls of the command line in this process, and what they are checked by."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from cmp_core.cli import cli

Cmp = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
QUICK = ["--set", "epochs=1", "--set", "N=24", "--set", "layers=2", "--set", "device=cpu"]

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


def call(*arguments: object) -> Result:
    """Call the command line in this process; whatever comes, it is no traceback and no colour."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), prog_name="cmp")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    return result


def assert_refused(command: str, message: str) -> None:
    """A line is answered by one sentence on standard error, exit code 2, and no file."""
    before = _content(Path())
    result = call(*shlex.split(command))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(re.findall(r"^error: ", result.stderr, re.M | re.I)) == 1
    assert result.stdout == ""
    assert _content(Path()) == before


def _content(folder: Path) -> dict[str, tuple[int, int]]:
    """All that is in a folder, with its size and when it was changed."""
    paths = (path for path in sorted(folder.rglob("*")) if "__pycache__" not in path.parts)
    return {str(path): (s.st_size, s.st_mtime_ns) for path in paths for s in [path.lstat()]}


def directory(result: Result) -> Path:
    """The run directory that was named."""
    (path,) = re.findall(r"^run directory (.+)$", result.stdout, re.M)
    return Path(path)
