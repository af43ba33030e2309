"""What `cmp compare` prints: accuracies, answers, and differences by layer."""

from __future__ import annotations

import math

from rich import box
from rich.markup import escape
from rich.table import Table

from cmp_core.analysis.comparison import OUTPUT, Comparison, comparisons_of
from cmp_core.analysis.questions import answers_of
from cmp_core.analysis.values import accuracy_at, tested_layers
from cmp_core.analysis.words import difference, estimate
from cmp_core.cli._results import print_answers, print_legend
from cmp_core.console import out, say
from cmp_core.runs.labels import MORE
from cmp_core.runs.replicates import ReplicateGroup, RunSet

_NAME, _CELL = 26, 19
"""Columns of the terminal that a metric's name takes, and a difference."""


def print_comparison(runs: RunSet) -> None:
    """Print a column of accuracies per experiment, its answers, and how they differ by layer."""
    groups = runs.groups
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("test accuracy", no_wrap=True)
    for group in groups:
        table.add_column(escape(group.label), justify="right", overflow="fold")
    table.add_row("seeds", *(escape(_seeds(group)) for group in groups))
    for layer in tested_layers(runs):
        cells = (accuracy_at(group.runs, layer) for group in groups)
        table.add_row(escape(layer), *("" if cell is None else estimate(cell) for cell in cells))
    out().print(table)
    if any(MORE in group.label.split() for group in groups):
        say(f"{MORE}: they differ in further keys, which the page of cmp report lists")
    if note := runs.note_on_origin:
        say(f"– {note}")
    answers = answers_of(runs)
    for label, own in answers.items():
        if len(answers) > 1:
            say(f"{label}:")
        print_answers(own)
        say("")
    print_legend([one for own in answers.values() for one in own])
    comparisons = comparisons_of(runs)
    for comparison in comparisons:
        _print_differences(comparison)
    count = sum(math.isfinite(one.p) for found in comparisons for one in found.differences)
    if count:
        say(f"±: 95 % intervals; *: p < .05, adjusted for all {count} differences (Holm)")


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
