"""Tests of `cmp_core.plugins.registry`."""

from __future__ import annotations

import pytest

from cmp_core import metric
from cmp_core.errors import UsageError
from cmp_core.plugins.registry import Registry, definition_of


def one() -> int:
    """Return one.

    And not two.
    """
    return 1


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add("model", "one", one, plugin="a", origin="a.py")
    registry.add("model", "another", lambda: 2, plugin="b", origin="b.py")
    registry.add("dataset", "one", lambda: 3, plugin="b", origin="b.py")
    return registry


def test_a_name_is_taken_once_for_each_kind(registry: Registry) -> None:
    assert registry.get("model", "one").factory() == 1
    assert registry.get("dataset", "one").factory() == 3
    with pytest.raises(UsageError) as told:
        registry.add("model", "one", one, plugin="c", origin="c.py")
    assert str(told.value) == (
        "the model 'one' is registered already, by a.py; leave that one out with -p no:a"
    )
    assert registry.get("model", "one").plugin == "a"


def test_names_are_sorted_and_those_of_a_plugin_apart(registry: Registry) -> None:
    assert registry.names("model") == ["another", "one"]
    assert registry.names("model", "a") == ["one"]
    assert registry.names("metric") == registry.names("model", "nobody") == []
    assert [(kind, name) for kind, name, _ in registry.of("b")] == [
        ("model", "another"),
        ("dataset", "one"),
    ]


def test_what_a_plugin_has_registered_is_forgotten_with_it(registry: Registry) -> None:
    registry.remove("b")
    assert registry.names("model") == ["one"]
    with pytest.raises(UsageError, match="unknown dataset 'one'; known: none"):
        registry.get("dataset", "one")
    registry.add("dataset", "one", one, plugin="c", origin="c.py")


def test_an_unknown_name_names_the_nearest(registry: Registry) -> None:
    with pytest.raises(UsageError, match="unknown model 'onee'; did you mean 'one'"):
        registry.get("model", "onee")


def test_the_summary_is_the_first_line_of_the_docstring(registry: Registry) -> None:
    assert registry.get("model", "one").summary == "Return one."
    assert registry.get("model", "another").summary == ""


def test_a_definition_is_that_of_the_decorator_of_its_kind() -> None:
    declared = metric("mine")(one)
    try:
        assert definition_of(declared, "metric").name == "mine"
        with pytest.raises(UsageError, match=r"'one' is not declared to be a plot: put @plot\("):
            definition_of(declared, "plot")
    finally:
        del one.metric_definition  # type: ignore[attr-defined]
