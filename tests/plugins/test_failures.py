"""Tests of `cmp_core.plugins.failures`: what a plugin raised, as it is recorded."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cmp_core.errors import PluginError
from cmp_core.plugins.failures import (
    Failure,
    failure_of,
    fatal_error,
    write_plugin_errors,
)


def fail() -> None:
    raise ValueError("no such luck")


def raised() -> ValueError:
    with pytest.raises(ValueError) as caught:
        fail()
    return caught.value


@pytest.mark.parametrize(("policy", "disabled"), [("disable", True), ("warn", False)])
def test_an_error_is_kept_with_its_traceback(policy: str, disabled: bool) -> None:
    failure = failure_of("mine", "cmp_run_started", raised(), policy)
    assert (failure.plugin, failure.hook, failure.count) == ("mine", "cmp_run_started", 1)
    assert (failure.error, failure.disabled) == ("ValueError: no such luck", disabled)
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert 'raise ValueError("no such luck")' in failure.traceback


def test_a_fatal_error_names_the_plugin_and_keeps_the_cause() -> None:
    error = raised()
    fatal = fatal_error("mine", "cmp_run_started", error)
    assert isinstance(fatal, PluginError)
    assert str(fatal) == "plugin 'mine' raised in cmp_run_started: ValueError: no such luck"
    assert fatal.__cause__ is error


def test_tracebacks_of_all_are_written_and_no_empty_file() -> None:
    path = Path("plugin_errors.log")
    write_plugin_errors(path, [])
    assert not path.exists()
    first = Failure("a", "cmp_x", "E: 1", "Traceback 1\n", True)
    write_plugin_errors(path, [first, attrs.evolve(first, plugin="b", count=3)])
    assert path.read_text(encoding="utf-8") == (
        "a in cmp_x, 1×\nTraceback 1\n\nb in cmp_x, 3×\nTraceback 1\n"
    )
