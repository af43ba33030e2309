"""Commands that installed plugins add."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.installed import install, python_path

COMMAND = """
from cmp_core import UsageError, hookimpl
import click

@hookimpl
def cmp_register_commands(cli):
    @cli.command({name!r})
    @click.argument("word")
    def it(word):
        '''Say a word.'''
        if word == "bad":
            raise UsageError("not that word")
        click.echo(f"said {{word}}")
"""
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = install(tmp_path / "site", "words", COMMAND.format(name="say"))
    monkeypatch.setenv("PYTHONPATH", python_path(folder))
    return folder


def test_a_command_from_outside_runs(site: Path, cmp: Call) -> None:
    assert cmp("say", "hello").stdout == "said hello\n"
    wrong = cmp("say", "bad")
    assert (wrong.returncode, wrong.stderr) == (2, "error: not that word\n")


def test_the_help_lists_it(site: Path, cmp: Call) -> None:
    assert "say        Say a word." in cmp("--help").stdout
    assert "did you mean 'say'?" in cmp("sayy", "hello").stderr


def test_the_environment_can_leave_it_out(
    site: Path, cmp: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMP_PLUGINS", "")
    assert cmp("say", "hello").returncode == 2


def test_other_plugins_are_not_imported_for_the_help(site: Path, cmp: Call) -> None:
    install(site, "silent", "print('imported')\ndef cmp_run_finished(): ...\n")
    assert "imported" not in cmp("--help").stdout
    assert "imported" not in cmp("say", "hello").stdout


def test_a_built_in_command_is_not_replaced(site: Path, cmp: Call) -> None:
    install(site, "clash", COMMAND.format(name="run"))
    done = cmp("--help")
    told = "warning: clash_module (installed by clash-dist): there is a command 'run' already; "
    assert done.stderr == f"{told}the plugin is left out\n"
    assert done.returncode == 0
    assert "Say a word" not in cmp("run", "--help").stdout


@pytest.mark.parametrize(
    ("end", "problem"),
    [("raise SystemExit(3)", "SystemExit: 3"), ("raise ValueError('no')", "ValueError: no")],
)
def test_a_broken_one_costs_its_own_commands(site: Path, cmp: Call, end: str, problem: str) -> None:
    install(site, "broken", f"{COMMAND.format(name='other')}\n    {end}\n")
    done = cmp("say", "hello")
    assert done.stdout == "said hello\n"
    assert problem in done.stderr


def test_a_file_of_its_name_does_not_hide_it(site: Path, cmp: Call, tmp_path: Path) -> None:
    (tmp_path / "say").write_text("")
    assert cmp("say", "hello", cwd=tmp_path).stdout == "said hello\n"
