"""What `cmp compare` prints: accuracies, answers, and differences by layer."""

from __future__ import annotations

import math

from cmp_core.analysis.comparison import OUTPUT, Comparison, comparisons_of
from cmp_core.analysis.questions import answers_of
from cmp_core.analysis.values import accuracy_at, tested_layers
from cmp_core.analysis.words import difference, estimate
from cmp_core.cli._results import print_answers, print_legend
from cmp_core.console import say, say_indented, show_table
from cmp_core.runs.labels import MORE
from cmp_core.runs.replicates import ReplicateGroup, RunSet


def print_comparison(runs: RunSet) -> None:
    """Print a column of accuracies per experiment, its answers, and how they differ by layer."""
    _print_accuracies(runs)
    if any(MORE in group.label.split() for group in runs.groups):
        say_indented(f"{MORE}: they differ in further keys, which the page of cmp report lists", 0)
    if note := runs.note_on_origin:
        say_indented(f"– {note}", 0)
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
        adjusted = f"adjusted for all {count:,} differences" if count > 1 else "of one difference"
        say_indented(f"±: 95 % intervals; *: p < .05, {adjusted} (Holm)", 0)


def _print_accuracies(runs: RunSet) -> None:
    """Print a row per layer with a column per experiment."""
    groups = runs.groups
    rows = [("seeds", *map(_seeds, groups))]
    for layer in tested_layers(runs):
        cells = (accuracy_at(group.runs, layer) for group in groups)
        rows.append((layer, *("" if cell is None else estimate(cell) for cell in cells)))
    labels = [group.label for group in groups]
    show_table(("test accuracy", *labels), rows, numbers=labels)


def _print_differences(comparison: Comparison) -> None:
    """Print a row per metric with the difference at each layer."""
    say_indented(f"{comparison.second} − {comparison.first}: {comparison.design}", 0)
    places = [*comparison.layers, *([OUTPUT] if comparison.output else [])]
    rows = []
    for metric, unit in comparison.units.items():
        name = f"{metric}, points" if unit == "fraction" else metric
        rows.append((name, *(difference(comparison.at(metric, place)) for place in places)))
    if rows:
        show_table(("difference", *places), rows, numbers=places)
    for note in comparison.notes:
        say_indented(f"– {note}", 0)


def _seeds(group: ReplicateGroup) -> str:
    seeds = ["–" if run.seed is None else str(run.seed) for run in group.runs]
    return ", ".join(seeds) if len(seeds) <= 4 else f"{len(seeds):,}"
