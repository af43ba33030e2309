"""Tests of `cmp_core.testing.state_checks`: each check fails for a state made to break it."""

from __future__ import annotations

from typing import Any

import pytest

from cmp_core import metric
from cmp_core.testing import metric_checks


class Sum:
    """The sum of all activations."""

    def __init__(self) -> None:
        self.total: Any = 0.0

    def update(self, view: Any) -> None:
        self.total = self.total + view.activations.sum()

    def merge(self, other: Any) -> Any:
        merged = type(self)()
        merged.total = self.total + other.total
        return merged

    def compute(self) -> Any:
        return self.total

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total = state["total"]


class Forgets(Sum):
    """The sum of the first side alone."""

    def merge(self, other: Any) -> Any:
        merged = type(self)()
        merged.total = self.total
        return merged


class Takes(Sum):
    """A sum that is merged into the other side as well."""

    def merge(self, other: Any) -> Any:
        other.total = self.total + other.total
        return other


class Loses(Sum):
    """A sum that is not restored."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Begins(Sum):
    """A sum that begins at 1."""

    def __init__(self) -> None:
        self.total = 1.0


def failed(state: Any) -> list[str]:
    names = []
    for check in metric_checks(metric("mine")(state)):
        try:
            check()
        except AssertionError:
            names.append(check.name)
    return names


IDENTITY = "merge: the empty state changes nothing"
ONE_PASS = "merge: is associative and commutative, and equals one pass"


@pytest.mark.parametrize(
    ("state", "names"),
    [
        (Sum, []),
        (Forgets, [IDENTITY, ONE_PASS]),
        (Begins, [IDENTITY, ONE_PASS]),
        (Takes, [ONE_PASS, "merge: changes neither side"]),
        (Loses, ["state_dict: a state is restored"]),
    ],
)
def test_a_state_fails_the_checks_that_it_breaks_and_no_other(state: Any, names: list[str]) -> None:
    assert failed(state) == names
