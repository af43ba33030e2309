"""`cmp plugins check` shows what a newcomer needs to mend a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.cli._checks import check_plugins
from tests.cli.calls import assert_refused, call

HEAD = "import torch\nfrom cmp_core import UndefinedError, hookimpl, metric, plot\n"


METRIC = """
@metric("mine"{traits})
def mine(view):
    '''What it is.'''
    {body}

@hookimpl
def cmp_register_metrics(register):
    register(mine)
"""


PLOT = """
@plot("mine", file="mine")
def mine(view):
    '''What it shows.'''
    {body}

@hookimpl
def cmp_register_plots(register):
    register(mine)
"""


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Write a plugin, check it, and return what was said; it must have failed."""

    def write_and_check(template: str, body: str, traits: str = "") -> str:
        path = tmp_path / "mine.py"
        path.write_text(HEAD + template.format(body=body, traits=traits))
        assert check_plugins([str(path)]) == 1
        return capsys.readouterr().out

    return write_and_check


def test_an_error_is_shown_with_its_line_and_its_input(check: Callable[..., str]) -> None:
    said = check(METRIC, "return view.activations.sort(dim=0).values[2].mean()")
    assert "FAILED mine: meets 2 samples with a value or a reason" in said
    assert "IndexError: index 2 is out of bounds" in said
    assert "in mine.py, line 7: return view.activations.sort(dim=0).values[2].mean()" in said
    assert 'tried on damaged_event("2 samples")' in said
    assert "example_event and damaged_event are in cmp_core.testing" in said


@pytest.mark.parametrize(
    ("body", "traits", "failed", "why"),
    [
        ("return view.activations.mean()", ", bounds=(0, 0.1)", "keeps to its bounds", "outside"),
        (
            "return view.activations.mul_(2).mean()",
            "",
            "changes no input",
            "it changed activations of layer_0 in place; work on a copy",
        ),
        ("return torch.rand(())", "", "draws no random number", "global generator has changed"),
        (
            "return view.activations.mean()",
            ", invariances={'scale'}",
            "is invariant: scale",
            "before the map 'scale'",
        ),
        (
            "return (view.activations * torch.arange(view.n)[:, None]).mean()",
            "",
            "is invariant: permute_samples",
            "before the map 'permute_samples'",
        ),
        (
            "raise UndefinedError('never')",
            "",
            "reads a split in chunks of 7 as at once",
            "layer_0: never; layer_1: never)",
        ),
    ],
)
def test_each_mistake_is_named(
    check: Callable[..., str], body: str, traits: str, failed: str, why: str
) -> None:
    said = check(METRIC, body, traits)
    assert f"FAILED mine: {failed}" in said
    assert why in said


@pytest.mark.parametrize(
    ("body", "failed", "why"),
    [
        ("return 3", "draws one run", "PluginError: expected a matplotlib Figure, got int"),
        ("raise UndefinedError('never')", "draws any of these", "there is a reason against each"),
        ("raise SystemExit(1)", "draws several seeds", "SystemExit: 1"),
        (
            "import matplotlib.pyplot as plt, time\n    f, a = plt.subplots()\n"
            "    a.set_title(str(time.perf_counter_ns()))\n    return f",
            "draws one run",
            "drawing the same runs again gives another picture",
        ),
    ],
)
def test_mistakes_of_plots_are_named(
    check: Callable[..., str], body: str, failed: str, why: str
) -> None:
    said = check(PLOT, body)
    assert f"FAILED mine: {failed}" in said
    assert why in said


def test_a_listener_must_get_through_a_run(check: Callable[..., str]) -> None:
    said = check("@hookimpl\ndef cmp_epoch_finished(event):\n    {body}\n", "event.nothing")
    assert "FAILED mine: takes part in a run of one epoch" in said
    assert "AttributeError: 'EpochFinished' object has no attribute 'nothing'" in said
    assert "in mine.py, line 5: event.nothing" in said


def test_a_dataset_must_get_through_a_run(check: Callable[..., str]) -> None:
    body = "register(lambda config: {body}, name='mine')\n"
    said = check("@hookimpl\ndef cmp_register_datasets(register):\n    " + body, "[1]")
    assert "tried on cmp run --set dataset=mine" in said


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("cmp:dead_units", "dead_units ("),
        ("margin", "margin (cmp_metrics.margin): "),
        ("digits", "digits (cmp_core.datasets.digits): 1 of 1 checks passed"),
    ],
)
def test_whatever_p_takes_can_be_checked(spec: str, said: str) -> None:
    result = call("plugins", "check", spec)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(said)


def test_what_is_not_there_is_told() -> None:
    assert_refused("plugins check nothing.py", "-p nothing.py: there is no such file")
    assert_refused("plugins check margni", "did you mean 'margin'?")


def test_several_are_checked_and_one_that_fails_is_enough() -> None:
    Path("mine.py").write_text(HEAD + METRIC.format(body="return view.nothing", traits=""))
    result = call("plugins", "check", "cmp:sparsity", "mine.py")
    assert result.exit_code == 1
    assert result.stdout.startswith("sparsity (")
    assert "mine (" in result.stdout
