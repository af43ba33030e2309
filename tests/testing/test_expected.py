"""Tests of `cmp_core.testing.expected`, and of what stands on it: no expectation goes stale."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cmp_core import LayerView, metric
from cmp_core.errors import UsageError
from cmp_core.testing import Check, each_check
from cmp_core.testing.expected import known_failures
from tests.cli.calls import assert_refused, call


def none() -> None:
    """Do nothing."""


CHECKS = [Check(subject, name, none) for subject in ("a", "b") for name in ("holds", "fits")]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ({}, {}),
        ({"fits": "why"}, {1: "why", 3: "why"}),
        ({"b: fits": "why"}, {3: "why"}),
        ({"b: fits": "why", "fits": "else", "a: holds": "so"}, {0: "so", 1: "else", 3: "why"}),
    ],
)
def test_a_name_stands_for_every_subject_or_for_one(
    expected: dict[str, str], found: dict[int, str]
) -> None:
    assert known_failures(CHECKS, expected) == found


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"fit": "why"}, "expected to fail: unknown check 'fit'; did you mean 'fits'?"),
        ({"c: fits": "why"}, "expected to fail: unknown check 'c: fits'; did you mean 'b: fits'?"),
        ({"fits": " "}, "expected to fail: 'fits' needs a reason, in words"),
    ],
)
def test_a_name_that_no_check_has_and_a_lack_of_reason_are_told(
    expected: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        known_failures(CHECKS, expected)
    assert str(caught.value).split(" or ")[0] == message


@metric("bounded", bounds=(0, 0.1))
def bounded(view: LayerView) -> float:
    """Exceeds its bounds."""
    return float(view.activations.mean())


@each_check(bounded, expect_fail={"keeps to its bounds": "the bounds are wrong"})
def test_under_pytest_the_check_is_expected_to_fail(check: Check) -> None:
    check()


def test_under_pytest_it_may_not_pass() -> None:
    decorator = each_check(bounded, expect_fail={"draws no random number": "x"})
    (mark,) = [mark for parameters in decorator.args[1] for mark in parameters.marks]
    assert mark.kwargs == {"reason": "x", "raises": AssertionError, "strict": True}


def test_without_pytest_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(UsageError, match="not installed: pip install pytest; cmp plugins check"):
        each_check(bounded)


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin in the current folder, of whose checks one fails."""
    Path("mine.py").write_text(PLUGIN)
    checks = [Check("mine", "fails", fail), Check("mine", "holds", none)]
    monkeypatch.setattr("cmp_core.cli._checks.checks_of", lambda factory: checks)
    monkeypatch.setattr("cmp_core.cli._checks._runs", lambda *given: iter(()))


def fail() -> None:
    raise AssertionError("3 is not 4")


PLUGIN = """
from cmp_core import metric

@metric("mine")
def mine(view):
    return view.activations.mean()
"""


@pytest.mark.usefixtures("_few")
def test_the_command_tells_what_failed_as_expected() -> None:
    assert call("plugins", "check", "mine.py").exit_code == 1
    result = call("plugins", "check", "mine.py", "--expect-fail", "fails = for x = 1")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(
        "1 of 2 checks passed, 1 failed as expected\nexpected to fail: mine: fails (for x = 1)\n"
    )


@pytest.mark.usefixtures("_few")
def test_the_command_fails_where_what_is_expected_is_not_so() -> None:
    known, stale = ["--expect-fail", "fails=known"], ["--expect-fail", "mine: holds=once"]
    result = call("plugins", "check", "mine.py", *known, *stale)
    assert result.exit_code == 1
    told = "FAILED mine: holds\n  it passes, and was expected to fail: once\n"
    assert result.stdout.endswith(told)
    assert_refused("plugins check mine.py --expect-fail holds", "expected CHECK=REASON, got")
    assert_refused("plugins check mine.py --expect-fail hold=x", "unknown check 'hold'; did you")
    assert_refused("plugins check mine.py --expect-fail holds=", "'holds' needs a reason")
