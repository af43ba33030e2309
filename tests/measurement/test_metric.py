"""Tests of `cmp_core.measurement.metric`: declarations, and what is refused in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor

from cmp_core import LayerView, metric
from cmp_core.errors import UsageError
from cmp_core.measurement.metric import definition_of


@metric("extremes", split="mean")
def extremes(view: LayerView, *, factor: float = 1.0) -> Mapping[str, Tensor]:
    """Largest and smallest unit."""
    return {"": factor * view.activations.amax(1), "low": factor * view.activations.amin(1)}


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown option 'facter'; did you mean 'factor'"):
        definition_of(extremes)(facter=2)


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"scope": "pairs"}, "unknown scope 'pairs'; did you mean 'pair'"),
        ({"question": "foo"}, "unknown question 'foo'"),
        ({"bounds": (1, 0)}, "bounds: expected"),
        ({"bounds": 1}, "bounds: expected"),
        ({"needs": "scores"}, r"needs: expected a tuple of paths, such as \('scores',\)"),
        ({"invariances": "scale"}, "invariances: expected a set"),
        ({"passes": 3}, "passes: expected 1 or 2"),
        ({"scope": "consecutive"}, "needs must name a neighbour"),
        ({"invariances": {"symmetric"}}, "is for metrics of scope pair"),
        ({"needs": ("scroes",)}, "unknown need 'scroes'; did you mean 'scores'"),
        ({"needs": ("nxt.scores",)}, "unknown need 'nxt.scores'"),
        ({"invariances": {"rotation"}}, "unknown invariance 'rotation'"),
        ({"passes": 2}, "passes=2 needs a class"),
        ({"needs": ("statistics.eigenvalue",)}, "unknown need 'eigenvalue'; did you mean"),
        ({"split": "men"}, "unknown split 'men'; did you mean 'mean'"),
        ({"split": "mean", "needs": ("statistics.variance",)}, "declare split='moments'"),
        (
            {"split": "mean", "needs": ("statistics.mean_log_kernel_density",)},
            "declare split='subset'",
        ),
        ({"needs": ("statistics.variance",)}, r"declare split='moments' \(exact\) or 'subset'"),
        ({"needs": ("next.statistics.held_out_scores",)}, "declare split='mean'"),
        ({"split": "moments"}, "needs must name them"),
        ({"split": "moments", "needs": ("labels", "statistics.variance")}, "sees no samples"),
        ({"split": "moments", "needs": ("statistics.log_q", "statistics.hsic")}, "sees no samples"),
        ({"scope": "pair", "split": "mean"}, "scope pair is for functions of two views"),
        ({"split": "running"}, "does not fit a function: declare 'mean', 'moments' or 'subset'"),
        ({"split": "state"}, "does not fit a function"),
    ],
)
def test_a_contradictory_declaration_is_refused(traits: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric("wrong", **traits)(lambda view: 0.0)


def test_a_class_must_have_the_methods_of_a_state() -> None:
    class Half:
        def update(self, view: LayerView) -> None: ...

    with pytest.raises(UsageError, match="lacks the methods merge, compute, state_dict"):
        metric("half")(Half)
    with pytest.raises(UsageError, match="does not fit a class: declare 'state' or 'running'"):
        metric("half", split="mean")(Half)
