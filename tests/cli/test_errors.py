"""Tests of `cmp_core.cli._errors`: one style of error, and a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calls import call


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("rnu", "error: unknown command 'rnu'; did you mean 'run'?\nsee cmp --help\n"),
        ("plot", "error: missing argument 'TYPE'\nsee cmp plot --help\n"),
        (
            "plugins check a --expect-fail b",
            "error: --expect-fail: expected CHECK=REASON, got 'b'\nsee cmp plugins check --help\n",
        ),
        (
            "run --jobs 0",
            "error: invalid value for '--jobs': 0 is not in the range x>=1\nsee cmp run --help\n",
        ),
        (
            "run --jobs 2",
            "error: --jobs is for --seeds, or a folder of replicates that is resumed\n"
            "see cmp run --help\n",
        ),
    ],
)
def test_a_wrong_call_is_told_in_one_line_and_where_to_read_on(command: str, told: str) -> None:
    result = call(*command.split())
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told)


@pytest.mark.usefixtures("_inside")
def test_what_is_wrong_in_a_file_is_told_without_a_word_about_the_call() -> None:
    result = call("run", "--set", "N=x")
    assert (result.exit_code, "see cmp" in result.stderr) == (2, False)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes")
def test_a_reader_that_has_gone_ends_a_command_without_a_word(here: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    called = [sys.executable, "-m", "cmp_core", "list", str(here)]
    done = subprocess.run(called, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert done.returncode == 128 + 13  # as of a program that SIGPIPE has ended
    assert [line for line in done.stderr.splitlines() if not line.startswith("warning: ")] == []
