"""What `cmp recompute` prints and writes."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any

import click

from cmp_core.analysis.crossed import Estimate
from cmp_core.analysis.words import estimate
from cmp_core.cli._results import exit_code
from cmp_core.console import complain, say, say_indented, show_table, track, warn
from cmp_core.errors import UsageError
from cmp_core.events.rows import FitInfo, Row
from cmp_core.measurement.recompute import find_snapshots, recompute_in_children
from cmp_core.measurement.recomputed import Recomputed
from cmp_core.reasons import grouped
from cmp_core.runs.directory import write_whole
from cmp_core.text import counted, in_short


def show(
    paths: Sequence[str],
    metrics: Any,
    plugins: Sequence[str],
    plugins_dir: Path | None,
    workers: int | None,
    results_to: IO[str] | None,
    target: Path | None,
    *,
    save: bool,
    plugins_from_run: bool,
) -> int:
    """Measure the snapshots, print, write or save their rows, and return the exit code.

    Args:
        paths, metrics, plugins, plugins_dir, workers, save, plugins_from_run: as `recompute`
            takes them.
        results_to: where rows are written as JSON lines; none: tables are printed.
        target: a file that the rows are written to instead, or none.
    """
    if target is not None and target.suffix not in (".jsonl", ".csv"):
        raise click.UsageError(
            f"--out: expected a name that ends in .jsonl or .csv, got '{target}'"
        )
    if target is not None and not target.parent.is_dir():
        raise UsageError(f"--out: there is no folder '{target.parent}'")
    count = len(find_snapshots(paths))
    results = []
    found = recompute_in_children(
        paths, metrics, plugins, plugins_dir, workers, save=save, plugins_from_run=plugins_from_run
    )
    if target is None and results_to is None:
        import scipy.special  # noqa: F401 (for the tables' intervals, while children import torch)
    for result in track(found, "snapshots", count):
        results.append(result)
        if result.error is None and results_to is not None:
            results_to.write(_json_lines([result]))
            results_to.flush()
    measured = [result for result in results if result.error is None]
    if target is not None and measured:
        write_whole(target, (_csv if target.suffix == ".csv" else _json_lines)(measured))
        rows = counted(sum(len(result.rows) for result in measured), "row")
        say(f"{rows} of {len(measured):,} of {counted(count, 'snapshot')} in {target}")
    elif target is None and results_to is None:
        for result in measured:
            _print_table(result)
        _print_reasons(measured)
    if save and measured and results_to is None:
        added = {result.path: result.rows_by_label() for result in measured}
        labels = dict.fromkeys(label for rows in added.values() for label in rows)
        files = [file for file, rows in added.items() if rows]
        own = [x for x in dict.fromkeys(paths) if any(Path(x) in file.parents for file in files)]
        if own:
            say(f"added {', '.join(labels)} to {', '.join(own)}")
    return _exit_code(results)


def _exit_code(results: Sequence[Recomputed]) -> int:
    """Name the files that were not measured, then what else there is to tell."""
    errors = [result.error for result in results if result.error is not None]
    for error in errors:
        complain(error)
    for note in dict.fromkeys(note for result in results for note in result.notes):
        warn(note)
    failures = {f.plugin: f for result in results for f in result.failures}
    for failure in failures.values():
        warn(f"plugin {failure.plugin} raised in {failure.hook}: {failure.error}")
    if errors:
        return UsageError.exit_code
    return exit_code(failures.values())


def _print_table(result: Recomputed) -> None:
    """Print a line for each metric; matrices are for `--json` and `--out`."""
    say(f"{result.path}: {result.phase}, epoch {result.epoch}, step {result.step}")
    cells: dict[str, dict[str, str]] = {}
    for row in result.rows:
        if not row.pair:
            cells.setdefault(row.metric, {})[row.layer] = _cell(row)
    layers = list(dict.fromkeys(row.layer for row in result.rows))
    rows = (
        (metric, *(by_layer.get(layer, "") for layer in layers))
        for metric, by_layer in cells.items()
    )
    show_table(("metric", *layers), rows, numbers=layers)
    fitted = {row.metric: row.fit for row in result.rows if row.fit is not None}
    if fitted:
        say_indented(f"{', '.join(fitted)}: {_fitted(next(iter(fitted.values())))}", 0)


def _cell(row: Row) -> str:
    """Return a value with half of its 95 % interval."""
    if row.value is None:
        return "–"
    if isinstance(row.value, tuple):
        return f"({len(row.value)})"
    error = row.error if isinstance(row.error, float) else math.nan
    return estimate(Estimate(row.value, error, max(1, row.n - 1)))


def _fitted(fit: FitInfo) -> str:
    if fit.source == "training":
        return f"by least squares, fitted to {counted(fit.n, 'training sample')} of the file"
    return (
        f"by least squares in five folds, fitted to {counted(fit.n, 'sample')} each: the file has "
        "none to fit to"
    )


def _print_reasons(results: Iterable[Recomputed]) -> None:
    """Say once why values are missing, however many snapshots, metrics and layers lack them."""
    missing = (
        (row.reason, row.metric, row.layer)
        for row in chain.from_iterable(result.rows for result in results)
        if row.reason is not None and not row.pair
    )
    for reason, (metrics, layers) in grouped(missing, lambda _: "it"):
        say_indented(f"– {', '.join(metrics)} ({in_short(layers)}): {reason}", 0)


def _json_lines(results: Iterable[Recomputed]) -> str:
    records = (record for result in results for record in result.records())
    return "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)


def _csv(results: Iterable[Recomputed]) -> str:
    text = io.StringIO()
    records = [record for result in results for record in result.records()]
    if records:
        writer = csv.DictWriter(text, records[0])
        writer.writeheader()
        writer.writerows(records)
    return text.getvalue()
