"""Adding what snapshots gave to the runs that have stored them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cmp_core.console import warn
from cmp_core.errors import UsageError
from cmp_core.events.rows import log_form
from cmp_core.runs.directory import open_run
from cmp_core.runs.lock import SAVING, locked
from cmp_core.runs.metric_info import metric_info_fields
from cmp_core.runs.recomputed import save_recomputed, stored_lines
from cmp_core.runs.record import RunRecord, load_run
from cmp_core.text import counted

if TYPE_CHECKING:
    from cmp_core.measurement.recomputed import Recomputed


def runs_to_save_to(paths: Iterable[str | Path], labels: Sequence[str]) -> list[RunRecord]:
    """Return the runs that can take metrics of some labels, each once.

    Raises:
        UsageError: there is no label, a path is no run that can be written to, or a run has logged
            a metric of this label itself.
        DataError: what was added before cannot be read.
    """
    if not labels:
        raise UsageError("save: expected the metrics to add to the run, got none (--metrics A,B)")
    runs: dict[str, RunRecord] = {}
    for path in paths:
        try:
            run = load_run(open_run(path))
        except UsageError as error:
            raise UsageError(f"save: values are added to runs alone; {error}") from error
        runs.setdefault(os.path.realpath(run.directory), run)
    for run in runs.values():
        if not os.access(run.directory, os.W_OK | os.X_OK):
            raise UsageError(f"save: cannot write to '{run.directory}'")
        stored_lines(run.directory)
        logged = {*run.metrics, *run.metric_info}
        taken = [x for x in labels if x in logged and not run.is_recomputed(x)]
        if taken:
            raise UsageError(
                f"save: '{run.directory}' has logged {', '.join(taken)} itself, and keeps these "
                f"values; leave out what is there, or give it another label: {{name: {taken[0]}, "
                f"label: {taken[0]}_stored}}"
            )
    return list(runs.values())


def saved(results: Iterable[Recomputed], runs: Sequence[RunRecord]) -> Iterator[Recomputed]:
    """Yield results, and add those of a run to it when they are all there.

    Args:
        results: of the snapshots of the runs, run by run.
        runs: what `runs_to_save_to` has returned.
    """

    def run_of(result: Recomputed) -> RunRecord:
        parents = result.path.absolute().parents
        return next(run for run in runs if run.directory in parents)

    for run, own in groupby(results, run_of):
        lines: list[dict[str, Any]] = []
        measured: Counter[str] = Counter()
        for result in own:
            foreign = [name for name in result.layers if name not in run.layers]
            if foreign:
                error = f"'{result.path}': {', '.join(foreign)}: no layers of the run; not saved"
                result = attrs.evolve(result, rows=(), error=error)
            if result.error is None:
                lines += _lines(result, run)
                measured.update(info.label for info in result.info)
            yield result
        if lines:
            with locked(run.directory, SAVING, seconds=60):
                save_recomputed(run.directory, lines)
        _warn_of_missing(measured, Counter(line["label"] for line in lines), run)


def _warn_of_missing(measured: Counter[str], added: Counter[str], run: RunRecord) -> None:
    """Say which metrics have no value, by counts of snapshots in which they were measured."""
    missing = ", ".join(
        f"{label} ({count - added[label]:,} of {counted(count, 'snapshot')})"
        for label, count in measured.items()
        if count > added[label]
    )
    if missing:
        warn(
            f"nothing was added to '{run.directory}' of metrics without a value at any layer: "
            f"{missing}"
        )


def _lines(result: Recomputed, run: RunRecord) -> Iterator[dict[str, Any]]:
    """Yield a line for each metric that has values."""
    info_of = {info.label: info for info in result.info}
    for label, rows in result.rows_by_label().items():
        line = {
            "snapshot": result.path.absolute().relative_to(run.directory).as_posix(),
            "content_sha256": result.content_hash or None,
            "label": label,
            "metric_info": metric_info_fields(info_of[label]),
            "phase": result.phase,
            "epoch": result.epoch,
            "step": result.step,
            **log_form(rows, run.layers, len(result.sample_ids)),
        }
        if result.phase == "test":  # the only split whose samples runs share
            line["sample_ids"] = list(result.sample_ids)
            line["influences"] = {
                f"{row.layer}/{row.metric}": [float(f"{x:.7g}") for x in row.influence]
                for row in rows
                if row.influence is not None and not row.pair
            }
        yield line
