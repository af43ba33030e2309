"""Tests of `cmp_core.console`: which words go where, and that they are just text."""

from __future__ import annotations

import re

import pytest
from rich.table import Table
from rich.text import Text

from cmp_core.console import complain, out, say, track, warn

HOSTILE = "[red]a[/red] :smile: [/nothing] " + 50 * "long "
Screen = pytest.CaptureFixture[str]


def test_a_line_is_printed_as_it_is_and_never_broken(capsys: Screen) -> None:
    say(HOSTILE)
    assert capsys.readouterr() == (f"{HOSTILE}\n", "")


def test_a_warning_goes_to_standard_error(capsys: Screen) -> None:
    warn(HOSTILE)
    assert capsys.readouterr() == ("", f"warning: {HOSTILE}\n")


def test_a_bar_shows_nothing_in_a_pipe_and_loses_no_item(capsys: Screen) -> None:
    assert list(track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_bar_stays_away_from_the_results_of_a_terminal(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(track([1, 2], "numbers")) == [1, 2]
    assert "numbers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "is_first"),
    [
        ({}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True),  # of a launcher of jobs that are each alone
        ({"RANK": "0", "TORCHELASTIC_RUN_ID": "none"}, True),
        ({"RANK": "1", "TORCHELASTIC_RUN_ID": "none"}, False),
    ],
)
def test_of_processes_of_torchrun_the_first_prints(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    is_first: bool,
) -> None:
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    say("something")
    warn("something else")
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        ("something\n", "warning: something else\n") if is_first else ("", "")
    )


STEERING = "a\x1b[2J\x1b]0;title\x07\x9b1m\r\u202e\ud800b"
SHOWN = r"a\x1b[2J\x1b]0;title\x07\x9b1m\r\u202e\ud800b"


@pytest.mark.parametrize("colours", [False, True])
def test_nothing_that_steers_the_terminal_is_printed(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch, colours: bool
) -> None:
    if colours:
        monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table("name")
    table.add_row(STEERING)
    say(STEERING)
    warn(STEERING)
    complain(STEERING)
    out().print(table)
    out().print(Text(STEERING))
    told = capsys.readouterr()
    assert told.out.count("\\x1b[2J") == 3
    assert told.err.count("\\x1b[2J") == 2
    assert not set("\x07\x9b\r\u202e\ud800") & set(told.out + told.err)
    own = re.sub(r"\x1b\[[0-9;]*m", "", told.out + told.err)
    assert "\x1b" not in own
    assert colours == (own != told.out + told.err)


def test_an_error_is_told_on_standard_error(capsys: Screen) -> None:
    complain(f"{STEERING}\n  second line")
    assert capsys.readouterr() == ("", f"error: {SHOWN}\n  second line\n")
