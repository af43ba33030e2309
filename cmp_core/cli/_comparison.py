"""The table of `cmp compare`."""

from __future__ import annotations

import math

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from cmp_core.analysis.comparison import OUTPUT, Comparison, compare
from cmp_core.analysis.questions import QUESTIONS, Answer, answers_of
from cmp_core.console import out, say
from cmp_core.report.words import difference, p_value, verdict
from cmp_core.runs.replicates import ReplicateGroup, RunSet

_NAME, _CELL = 26, 15
"""Columns of the terminal that a metric's name takes, and a difference."""


def print_comparison(runs: RunSet) -> None:
    """Print a column per experiment, accuracies and verdicts, and then how they differ by layer."""
    groups = runs.groups
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test accuracy", no_wrap=True)
    for group in groups:
        table.add_column(escape(group.label), justify="right", overflow="fold")
    table.add_row("seeds", *(escape(_seeds(group)) for group in groups))
    layers = dict.fromkeys(x for run in runs.runs for x in run.test_accuracies)
    order = [*runs.layers, *layers]  # a test may tell of layers that the log does not
    for layer in sorted(layers, key=order.index):
        table.add_row(escape(layer), *(_accuracy(group, layer) for group in groups))
    table.add_section()
    answers = answers_of(runs)
    for place, title in enumerate(QUESTIONS.values()):
        table.add_row(title, *(_verdict(own[place]) for own in answers.values()))
    out().print(table)
    if any(math.isfinite(one.adjusted_p) for own in answers.values() for one in own):
        say("answers: by 95 % intervals; p: adjusted for all answers of the table (Holm)")
    comparisons = compare(runs)
    for comparison in comparisons:
        _print_differences(comparison)
    count = sum(math.isfinite(one.p) for found in comparisons for one in found.differences)
    if count:
        say(f"value(standard error); *: p < .05, adjusted for all {count} differences (Holm)")


def _verdict(answer: Answer) -> str:
    known = math.isfinite(answer.adjusted_p)
    return f"{verdict(answer)}, p {p_value(answer.adjusted_p)}" if known else verdict(answer)


def _print_differences(comparison: Comparison) -> None:
    """Print a row per metric with the difference at each layer."""
    say(f"{comparison.second} − {comparison.first}: {comparison.design}")
    places = [*comparison.layers, *([OUTPUT] if comparison.output else [])]
    most = max(1, (out().width - _NAME) // _CELL)
    for start in range(0, len(places), most):
        shown = places[start : start + most]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("difference", no_wrap=True)
        for place in shown:
            table.add_column(escape(place), justify="right", no_wrap=True)
        for metric, unit in comparison.units.items():
            cells = [difference(comparison.at(metric, place)) for place in shown]
            if any(cells):
                name = f"{metric}, points" if unit == "fraction" else metric
                table.add_row(escape(name), *cells)
        out().print(table)
    for note in comparison.notes:
        say(f"– {note}")


def _seeds(group: ReplicateGroup) -> str:
    seeds = ["–" if run.seed is None else str(run.seed) for run in group.runs]
    return ", ".join(seeds) if len(seeds) <= 4 else str(len(seeds))


def _accuracy(group: ReplicateGroup, layer: str) -> str:
    values = [run.test_accuracies[layer] for run in group.runs if layer in run.test_accuracies]
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
