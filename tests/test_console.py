"""Tests of `cmp_core.console`: which words go where, and that they are just text."""

from __future__ import annotations

import re
import time

import pytest
from rich.table import Table
from rich.text import Text

from cmp_core.console import complain, out, say, say_indented, show_table, track, warn

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


def test_what_takes_long_is_told_in_a_pipe_by_one_line(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.console.PATIENCE", 0.01)
    assert list(track([0.0, 0.1, 0.1], "numbers", line="many numbers")) == [0.0, 0.1, 0.1]
    assert capsys.readouterr().out == ""  # it was over before
    for pause in track([0.0, 0.1, 0.1], "numbers", line="many numbers"):
        time.sleep(pause)
    assert capsys.readouterr() == ("many numbers\n", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for pause in track([0.1], "numbers", line="many numbers"):
        time.sleep(pause)
    assert "many numbers" not in capsys.readouterr().out  # there is a bar


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


def test_a_table_of_a_pipe_is_as_wide_as_it_has_to_be(capsys: Screen) -> None:
    show_table(("name", "value"), [("[b]" * 100, "1.5"), ("b", "12.5")], numbers=["value"])
    lines = capsys.readouterr().out.splitlines()
    assert "[b]" * 100 in lines[3]
    assert [line.rstrip()[-5:] for line in lines[3:5]] == ["  1.5", " 12.5"]


def test_a_terminal_that_is_too_narrow_gets_a_block_for_each_row(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    row = ("a" * 30, "0.9443(12)", "", "b")
    shown = {}
    for columns in (34, 40, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        show_table(("[run]", "test accuracy", "empty", "last"), [row])
        shown[columns] = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert shown[40] == ["[run]", "a" * 30, "  test accuracy 0.9443(12) · last b"]
    assert shown[34][2:] == ["  test accuracy 0.9443(12) ·", "    last b"]
    assert len(shown[100]) == 5


def test_an_indented_text_is_folded_in_a_terminal_alone(
    capsys: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_indented("one two three four five", 2)
    assert capsys.readouterr().out == "  one two three four five\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    say_indented("one two three four five", 2)
    assert capsys.readouterr().out == "  one two three four\n    five\n"
