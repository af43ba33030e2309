"""Tests of `cmp_core.errors`: exit codes, and sentences that name the nearest word."""

from __future__ import annotations

import errno

import pytest

from cmp_core.errors import (
    CmpError,
    ConfigError,
    DataError,
    PluginError,
    TrainingError,
    UndefinedError,
    UsageError,
    one_line,
    reason_of,
    traceback_of,
    unknown,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(["x"]), 2),
        (DataError("x"), 2),
        (UsageError("x"), 2),
        (PluginError("x"), 1),
        (TrainingError("x"), 1),
        (UndefinedError("x"), 1),
    ],
)
def test_what_the_user_can_mend_has_exit_code_2(error: CmpError, code: int) -> None:
    assert error.exit_code == code


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("acuracy", ["margin", "accuracy"], "did you mean 'accuracy'?"),
        ("n", ["N", "tau"], "did you mean 'N'?"),  # of another case
        ("ACCURACY", ["accuracy"], "did you mean 'accuracy'?"),
        ("x", ["margin", "alignment"], "known: alignment, margin"),
        ("", ["margin"], "known: margin"),
        ("x", [], "known: none"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_or_all(
    name: str, known: list[str], hint: str
) -> None:
    assert unknown("metric", name, known) == f"unknown metric '{name}'; {hint}"


def test_mistakes_are_counted_and_kept() -> None:
    error = ConfigError(["a: wrong", "b: wrong"])
    assert str(error) == "the configuration has 2 mistakes:\n  a: wrong\n  b: wrong"
    assert error.problems == ("a: wrong", "b: wrong")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AssertionError(), "AssertionError"),
        (SystemExit(4), "SystemExit: 4"),
        (OSError("\n no such file\nlook elsewhere"), "OSError: no such file"),
    ],
)
def test_an_error_is_told_in_one_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line


class BadError(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (BadError(), "BadError: its message cannot be had, __str__ raised ValueError"),
        (ValueError("\x1b[2J\ud800"), r"ValueError: \x1b[2J\ud800"),
        (ValueError("x" * 10**7), "ValueError: " + "x" * 187 + "…"),
    ],
)
def test_whatever_a_message_holds_the_line_can_be_shown(error: BaseException, line: str) -> None:
    assert one_line(error) == line


def chain(length: int) -> BaseException:
    error = ValueError("0")
    for i in range(1, length):
        further = ValueError(str(i))
        further.__cause__ = error
        error = further
    return error


def fail() -> None:
    raise KeyError("second") from caused


caused = ValueError("first")
caused.add_note("a note")


def test_a_traceback_has_the_calls_and_the_causes_in_their_order() -> None:
    with pytest.raises(KeyError) as caught:
        fail()
    told = traceback_of(caught.value)
    assert 'raise KeyError("second") from caused' in told
    texts = ("ValueError: first", "a note", "the cause of", "in fail", "KeyError: 'second'")
    places = [told.index(text) for text in texts]
    assert places == sorted(places)


def test_a_traceback_is_bounded() -> None:
    cyclic = ValueError("a")
    cyclic.__cause__ = ValueError("b")
    cyclic.__cause__.__cause__ = cyclic
    many = ExceptionGroup("many", [ValueError(str(i)) for i in range(10**4)])
    for error in (cyclic, chain(1000), many, ValueError("x\n" * 10**6)):
        assert len(traceback_of(error)) < 5000
    assert "ValueError: 999" in traceback_of(chain(1000))
    assert "and 9,995 more" in traceback_of(many)
    traceback_of(ValueError("\ud800")).encode()


def test_a_traceback_asks_the_class_for_nothing_but_the_message() -> None:
    class EndlessError(Exception):
        @property
        def __cause__(self) -> Exception:  # type: ignore[override]
            return EndlessError()

    assert traceback_of(EndlessError("x")).count("EndlessError: x") == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space", "/run/a.json"), "'/run/a.json': No space"),
        (OSError(errno.ENOSPC, "No space"), "standard output: No space"),
        (OSError("of its own"), "of its own"),
        (UsageError("a sentence"), "a sentence"),
    ],
)
def test_what_was_in_the_way_is_named(error: Exception, told: str) -> None:
    assert reason_of(error) == told
