"""Every exported function over arrays of more than two dimensions."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cmp_metrics
from cmp_core import UsageError

FUNCTIONS = {
    name: function
    for name, function in vars(cmp_metrics).items()
    if inspect.isfunction(function) and not name.startswith("_")
}
RNG = np.random.default_rng(0)
LABELS = np.arange(48) % 3
IMAGES = RNG.normal(size=(48, 2, 3, 2)) + LABELS[:, None, None, None]
TOKENS = RNG.normal(size=(48, 5, 2)) + IMAGES.reshape(48, -1)[:, :10].reshape(48, 5, 2)
STACKED = {"activations": IMAGES, "x": IMAGES, "y": TOKENS, "layers": [IMAGES, TOKENS]}
"""Arguments of activations (n, …), by name."""
FLAT = {
    "labels": LABELS,
    "anchors": RNG.normal(size=(3, 12)),
    "scores": RNG.normal(size=(48, 3)),
    "next_scores": RNG.normal(size=(48, 3)),
    "variances": RNG.uniform(size=7),
}
"""The other arguments that have no default."""
OF_ACTIVATIONS = [
    name for name, one in FUNCTIONS.items() if set(inspect.signature(one).parameters) & set(STACKED)
]


def test_all_functions_that_are_imported_are_exported() -> None:
    tree = ast.parse(Path(cmp_metrics.__file__).read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    expected = {alias.asname for node in imports for alias in node.names}
    names: dict[str, Any] = {}
    exec("from cmp_metrics import *", names)
    assert names.keys() - {"__builtins__"} == expected == set(cmp_metrics.__all__)
    assert expected <= set(dir(cmp_metrics))


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """What a function needs."""
    needed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
    ]
    return {name: (STACKED | FLAT)[name] for name in needed}


def changed(given: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The same arguments with the activations in another form."""
    return {
        name: value
        if name not in STACKED
        else [change(one) for one in value]
        if isinstance(value, list)
        else change(value)
        for name, value in given.items()
    }


def flat(array: Any) -> Any:
    return array.reshape(len(array), -1)


def test_all_functions_are_found() -> None:
    assert len(FUNCTIONS) == len(OF_ACTIVATIONS) + 4  # of scores or variances
    assert "linear_cka_matrix" in OF_ACTIVATIONS


@pytest.mark.parametrize("name", OF_ACTIVATIONS)
def test_the_value_is_that_of_the_flattened_array(name: str) -> None:
    function = FUNCTIONS[name]
    given = arguments(function)
    expected = function(**changed(given, flat))
    fortran = changed(given, np.asfortranarray)
    for own in (given, fortran, changed(given, torch.from_numpy)):
        np.testing.assert_equal(as_plain(function(**own)), as_plain(expected))


def as_plain(value: Any) -> Any:
    return value.numpy() if isinstance(value, torch.Tensor) else value


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if "fit" in inspect.signature(FUNCTIONS[name]).parameters]
)
def test_samples_to_fit_to_are_flattened_too(name: str) -> None:
    function = FUNCTIONS[name]
    given = arguments(function)
    scored = {key: changed({key: one}, lambda a: a[:16])[key] for key, one in given.items()}
    scored |= {"labels": LABELS[:16]} if "labels" in given else {}
    fit = [value[16:] for value in given.values()]
    assert function(**scored, fit=fit) == function(
        **changed(scored, flat), fit=[flat(one) if one.ndim > 1 else one for one in fit]
    )


@pytest.mark.parametrize("name", OF_ACTIVATIONS)
def test_a_single_number_for_each_sample_is_refused(name: str) -> None:
    function = FUNCTIONS[name]
    given = changed(arguments(function), lambda array: array.ravel()[:48])
    with pytest.raises(UsageError, match=r"expected activations \(n, p\) or \(n, …\), got shape"):
        function(**given)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("accuracy", "scores"),
        ("cross_entropy", "scores"),
        ("ace_regularizer", "scores"),
        ("ace_regularizer", "next_scores"),
        ("alignment", "anchors"),
        ("margin", "anchors"),
    ],
)
def test_scores_and_anchors_have_two_dimensions(name: str, what: str) -> None:
    function = FUNCTIONS[name]
    given = arguments(function) | {what: FLAT[what][..., None]}
    kind = what.removeprefix("next_")
    with pytest.raises(UsageError, match=rf"expected {kind} \(n, p\), got shape \(\d+, \d+, 1\)"):
        function(**given)
