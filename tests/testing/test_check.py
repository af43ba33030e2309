"""Tests of `cmp_core.testing.check`, and of what can be checked."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from cmp_core.errors import UsageError
from cmp_core.testing import Check, checks_of


def fail(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def test_a_check_that_holds_says_nothing() -> None:
    Check("mine", "holds", lambda: None)()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(2)])
def test_whatever_is_raised_fails_the_check_and_is_its_cause(error: BaseException) -> None:
    with pytest.raises(AssertionError, match=f"mine: holds: {type(error).__name__}") as caught:
        Check("mine", "holds", fail(error))()
    assert caught.value.__cause__ is error


def test_an_assertion_is_told_as_it_is_with_a_note_of_what_failed() -> None:
    with pytest.raises(AssertionError) as caught:
        Check("mine", "holds", fail(AssertionError("3 is not 4")))()
    assert str(caught.value) == "3 is not 4"
    assert caught.value.__notes__ == ["mine: holds"]


def test_a_warning_fails_the_check() -> None:
    with pytest.raises(AssertionError, match="UserWarning: careful"):
        Check("mine", "holds", lambda: warnings.warn("careful", stacklevel=1))()


@pytest.mark.parametrize("what", [int, 3])
def test_there_must_be_something_to_check(what: Any) -> None:
    name = getattr(what, "__name__", "3")
    with pytest.raises(UsageError, match=f"'{name}' is not under @metric or @plot"):
        checks_of(what)
