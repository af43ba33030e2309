"""`cmp plugins check` shows what a newcomer needs to mend a plugin."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core import UndefinedError, metric
from cmp_core.cli._checks import check_plugins
from cmp_core.errors import UsageError
from cmp_core.testing import check_plot, checks_of, measure

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
    ("spec", "code", "said"),
    [
        ("cmp:dead_units", 0, "dead_units ("),
        ("margin", 0, "margin (cmp_metrics.margin): "),
        ("heatmap_plot", 0, "heatmap_plot (cmp_plots.heatmap): "),
        ("nothing.py", 2, "error: -p nothing.py: there is no such file"),
        ("margni", 2, "did you mean 'margin'?"),
    ],
)
def test_whatever_p_takes_can_be_checked(
    cmp: Callable[..., subprocess.CompletedProcess[str]], spec: str, code: int, said: str
) -> None:
    done = cmp("plugins", "check", spec)
    assert done.returncode == code, done.stdout
    assert said in done.stdout + done.stderr


def test_there_must_be_something_to_check() -> None:
    with pytest.raises(UsageError, match="'int' is not under @metric or @plot"):
        checks_of(int)


def test_the_kit_of_plots_says_how_many_checks_there_were() -> None:
    from cmp_plots.layer_progression import layer_progression

    assert check_plot(layer_progression) == len(checks_of(layer_progression))


@metric("both", scope="pair")
def both(first, second):  # type: ignore[no-untyped-def]
    """The sum and the difference of two means."""
    a, b = first.activations.mean(), second.activations.mean()
    return {"": a + b, "difference": a - b}


def test_known_values_are_measured_of_the_last_layer() -> None:
    assert measure(both, [[1.0]], [[2.0, 4.0]]) == {"both": 4.0, "both_difference": -2.0}
    with pytest.raises(UndefinedError, match="layer_0 is the first layer"):
        measure(both, [[1.0]])
