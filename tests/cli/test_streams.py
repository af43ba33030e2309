"""Tests of `cmp_core.cli._streams`: output that is lost while a run goes on."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from cmp_core.cli._streams import lasting_output


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
