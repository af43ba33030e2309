"""Tests of `cmp_core.cli._streams`: output that is lost while a run goes on."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from rich.console import Console

from cmp_core.cli._streams import lasting_output, results_alone
from tests.cli.calls import ROOT
from tests.installed import install
from tests.small_runs import posix, stored


class Breaks(io.StringIO):
    """A stream that takes some writes, and then raises."""

    def __init__(self, takes: int, error: Exception) -> None:
        super().__init__()
        self._left, self._error = takes, error
        self.calls = 0

    def write(self, text: str) -> int:
        self.calls += 1
        if not self._left:
            raise self._error
        self._left -= 1
        return super().write(text)


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space left"), ValueError("closed")],
)
def test_what_is_lost_is_told_once_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    stream = Breaks(2, error)
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_output():
        for i in range(4):
            Console().print(f"line {i}")
        print("more")
    assert stream.getvalue() == "line 0\nline 1\n"
    assert stream.calls == 3
    assert sys.stdout is stream
    told = capsys.readouterr().err
    assert told == f"warning: standard output is lost ({error}); the run goes on\n"


def test_standard_error_may_be_lost_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Breaks(0, OSError(5, "Input/output error")))
    with lasting_output():
        print("something")
        print("something", file=sys.stderr)
        sys.stderr.flush()


def test_output_that_is_not_lost_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    with lasting_output():
        print("text")
        assert sys.stdout.isatty() is False
    assert capsys.readouterr().out == "text\n"


NOISY = """
import os, subprocess
from ctypes import CDLL
from cmp_core import hookimpl, metric

def noise():
    print("noise")
    os.write(1, b"noise\\n")
    subprocess.run(["echo", "noise"], check=True)
    CDLL(None).puts(b"noise")
    CDLL(None).fflush(None)

noise()

@metric("noisy")
def noisy(view):
    '''The mean activation.'''
    noise()
    return view.activations.mean()

@hookimpl
def cmp_register_metrics(register):
    noise()
    register(noisy)
"""


@posix
def test_what_a_plugin_prints_is_not_among_the_results(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "noisy", NOISY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{ROOT}")

    def results(*arguments: object) -> str:
        command = [sys.executable, "-m", "cmp_core", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("noise") >= 8
        return done.stdout

    snapshot = stored(finished_run)[0]
    asked = ("--metrics", "noisy", "--workers", "1")
    lines = results("recompute", snapshot, *asked, "--json").splitlines()
    assert {json.loads(line)["metric"] for line in lines} == {"noisy"}
    listed = json.loads(results("plugins", "list", "-v", "--json"))
    assert "noisy" in {row["name"] for row in listed}


def test_standard_output_is_back_after_the_results(capfd: pytest.CaptureFixture[str]) -> None:
    with open(1, "w", closefd=False) as output, redirect_stdout(output):
        with results_alone() as results:
            print("elsewhere", flush=True)
            os.write(1, b"elsewhere\n")
            results.write("result\n")
        print("after", flush=True)
    told = capfd.readouterr()
    assert told.out == "result\nafter\n"
    assert told.err.count("elsewhere") == 2


def test_of_text_in_memory_results_are_alone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    output, errors = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    with results_alone() as results:
        print("elsewhere")
        results.write("result")
    assert (output.getvalue(), errors.getvalue()) == ("result", "elsewhere\n")


def test_a_plugin_cannot_close_what_a_run_prints_to(capsys: pytest.CaptureFixture[str]) -> None:
    with lasting_output():
        sys.stdout.close()
        sys.stderr.close()
        print("a result")
        print("a warning", file=sys.stderr)
    assert capsys.readouterr() == ("a result\n", "a warning\n")
