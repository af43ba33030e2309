"""The table of `cmp compare`."""

from __future__ import annotations

import math

import numpy as np
from rich import box
from rich.markup import escape
from rich.table import Table

from cmp_core.analysis.comparison import difference
from cmp_core.analysis.questions import QUESTIONS, answer
from cmp_core.console import out, say
from cmp_core.report.words import p_value, verdict
from cmp_core.runs.replicates import ReplicateGroup, RunSet


def print_comparison(runs: RunSet) -> None:
    """Print a column per experiment: accuracies by layer, and the verdicts."""
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
    for question, title in QUESTIONS.items():
        table.add_row(title, *(verdict(answer(group.runs, question)) for group in groups))
    out().print(table)
    first, *others = groups
    for group in others:
        found = difference(first, group)
        if found is None:
            continue
        known = math.isfinite(found.low)
        interval = f", 95 % {100 * found.low:+.2f} to {100 * found.high:+.2f}" if known else ""
        p = f", p {p_value(found.p)}" if math.isfinite(found.p) else ""
        told = f"{100 * found.effect:+.2f} points of output accuracy{interval}".replace("-", "−")
        say(f"{group.label} − {first.label}: {told}{p} ({found.how})")


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
