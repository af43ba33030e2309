"""Tests of `cmp_core.errors`: exit codes, and sentences that name the nearest word."""

from __future__ import annotations

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
