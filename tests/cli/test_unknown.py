"""Tests of `cmp_core.cli._unknown`: a key of the configuration given as an option, and slips."""

from __future__ import annotations

import pytest

from tests.cli.calls import assert_refused


@pytest.mark.usefixtures("_inside")
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run --epochs 5", "unknown option '--epochs'; did you mean --set epochs=5?"),
        ("run --epoch=5", "unknown option '--epoch'; did you mean --set epochs=5?"),
        ("run --seed 3", "did you mean --set seed=3 or --seeds?"),
        ("train --seed 3", "did you mean --set seed=3?"),
        ("train --batch-size 64", "did you mean --set batch_size=64?"),
        ("run -N 32", "unknown option '-N'; did you mean --set N=32?"),
        ("run --amp", "did you mean --set amp=VALUE?"),
        ("run --lr --show", "did you mean --set lr=VALUE?"),
        ("run --out 'my runs'", "did you mean --set 'out=my runs'?"),
        ("run --metric margin", "unknown option '--metric'; did you mean --metrics?"),
        ("eval A --device cpu", "did you mean --set device=cpu?"),
        ("eval A --epochs 5", "error: unknown option '--epochs'\n"),  # eval cannot change it
        ("plugins chekc", "unknown command 'chekc'; did you mean 'check'?"),
        ("--hlep", "unknown option '--hlep'; did you mean --help?"),
    ],
)
def test_what_is_meant_is_named(command: str, message: str) -> None:
    assert_refused(command, message)
