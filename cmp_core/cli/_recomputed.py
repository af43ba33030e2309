"""What `cmp recompute` prints and writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.table import Table

from cmp_core.cli._results import FINISHED_WITHOUT_PLUGIN
from cmp_core.console import out, say, track, warn
from cmp_core.errors import UsageError
from cmp_core.recompute import Recomputed, find_snapshots, recompute
from cmp_core.run_directory import write_whole


def show(
    paths: Sequence[str],
    metrics: Any,
    plugins: Sequence[str],
    plugins_dir: Path | None,
    workers: int | None,
    as_json: bool,
    target: Path | None,
) -> int:
    """Measure the snapshots, print or write their rows, and return the exit code."""
    if target is not None and target.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"--out: expected a name that ends in .jsonl or .csv, got '{target}'")
    count = len(find_snapshots(paths))
    results = []
    for result in track(
        recompute(paths, metrics, plugins, plugins_dir, workers), "snapshots", count
    ):
        results.append(result)
        if result.error is not None:
            click.echo(f"error: {result.error}", err=True)
        elif as_json and target is None:
            click.echo(_json_lines([result]), nl=False)
    if target is not None:
        write_whole(target, (_csv if target.suffix == ".csv" else _json_lines)(results))
        say(f"{sum(len(r.rows) for r in results):,} rows of {count} snapshots in {target}")
    elif not as_json:
        for result in results:
            _print_table(result)
    return _exit_code(results)


def _exit_code(results: Iterable[Recomputed]) -> int:
    failures = {f.plugin: f for result in results for f in result.failures}
    for failure in failures.values():
        warn(f"plugin {failure.plugin} raised in {failure.hook}: {failure.error}")
    if any(result.error is not None for result in results):
        return UsageError.exit_code
    return FINISHED_WITHOUT_PLUGIN if failures else 0


def _print_table(result: Recomputed) -> None:
    """Print a line for each value; whole matrices and vectors are for `--json` and `--out`."""
    if result.error is not None:
        return
    say(f"\n{result.path}: {result.phase}, epoch {result.epoch}, step {result.step}")
    layers = list(dict.fromkeys(row.layer for row in result.rows))
    values: dict[str, dict[str, str]] = {}
    reasons: dict[str, list[str]] = {}
    for row in result.rows:
        if row.pair:
            continue
        cells = values.setdefault(row.metric, {})
        if isinstance(row.value, tuple):
            cells[row.layer] = f"[{len(row.value)} values]"
        elif row.value is not None:
            cells[row.layer] = f"{row.value:.4g}"
        else:
            cells[row.layer] = "–"
            reasons.setdefault(f"{row.metric}: {row.reason}", []).append(row.layer)
    table = Table("metric", box=box.SIMPLE_HEAD, pad_edge=False)
    for layer in layers:
        table.add_column(layer, justify="right")
    for metric, cells in values.items():
        table.add_row(metric, *(cells.get(layer, "") for layer in layers))
    out().print(table)
    for reason, where in reasons.items():
        say(f"– {reason} ({', '.join(where)})")


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
