"""The group of commands: its help, and how errors end."""

from __future__ import annotations

import re
import shlex

import pytest

from cmp_core.cli import cli
from tests.cli.calls import Cmp, call


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize("command", cli.commands)
def test_every_help_has_examples_that_parse(command: str) -> None:
    shown = call(command, "--help").stdout.partition("Examples:")[2].partition("Exit codes")[0]
    examples = re.findall(r"^ *cmp (.+)$", shown.replace(" && cmp ", "\n  cmp "), re.M)
    assert examples
    for name, *arguments in map(shlex.split, examples):
        cli.commands[name].make_context(name, list(arguments))


def test_a_narrow_encoding_shows_codes(cmp: Cmp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    done = cmp("run", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "metric: \\u2026," in done.stdout
