"""The runs that a comparison, an answer or a report is asked for, however they are given."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import attrs
from rich.markup import escape

from cmp_core.console import out, warn
from cmp_core.errors import UsageError
from cmp_core.runs.directory import PARAMS, run_directories
from cmp_core.runs.record import RunRecord, load_run
from cmp_core.runs.replicates import RunSet

Runs: TypeAlias = RunSet | Iterable[RunRecord | str | Path]
"""Runs, run directories, snapshot files, and folders of these."""


def as_run_set(runs: Runs, labels: Sequence[str] = ()) -> RunSet:
    """Return runs as a set, and warn of what could not be read.

    A snapshot file is measured, and its samples stand for a test. What is given twice counts once,
    however its path is spelt.

    Args:
        runs: as they are, or where they are.
        labels: one for each run, see `RunSet`.

    Raises:
        UsageError: one is no run, there is none, or none of them has logged anything yet.
    """
    if isinstance(labels, str):
        raise UsageError(f"labels: expected a sequence, got '{labels}': write ['{labels}']")
    if isinstance(runs, RunSet):
        return attrs.evolve(runs, labels=tuple(labels)) if labels else runs
    if isinstance(runs, (str, Path, RunRecord)):
        one = "run" if isinstance(runs, RunRecord) else f"'{runs}'"
        raise UsageError(f"expected a sequence of runs, got {one}: write [{one}]")
    found: dict[str, RunRecord] = {}
    runs = list(runs)
    for given in runs:
        if isinstance(given, RunRecord):
            found.setdefault(os.path.realpath(given.directory), given)
            continue
        for path in _places(given):
            if (key := os.path.realpath(path)) not in found:
                found[key] = _read(path.absolute())
    if not found:
        raise UsageError("expected at least one run")
    if not any(map(_has_logged, found.values())):
        raise UsageError("there is nothing to show yet: no training step, no epoch and no test")
    place = _folder_of_runs(runs[0]) if len(runs) == 1 else None
    return RunSet(tuple(found.values()), tuple(labels), place)


def _folder_of_runs(given: object) -> Path | None:
    """Return a folder that is no run and holds some, such as one of replicates; or none."""
    if not isinstance(given, (str, Path)) or (Path(given) / PARAMS).exists():
        return None
    return Path(given).absolute() if run_directories(Path(given)) else None


def _places(given: object) -> list[Path]:
    """Return what stands in a folder that is no run: runs or snapshot files; or what was given."""
    if not isinstance(given, (str, Path)):
        what = "a run, a run directory or a snapshot file"
        raise UsageError(f"expected {what}, got {type(given).__name__}")
    path = Path(given)
    if not path.is_dir() or (path / PARAMS).exists():
        return [path]
    return run_directories(path) or sorted(path.glob("[!.]*.h5")) or [path]


def _read(path: Path) -> RunRecord:
    run = _with_metric_info(load_run(_measured(path)))
    for problem in run.problems:
        warn(problem)
    return run


def _measured(path: Path) -> Path:
    """Return a run directory: of a snapshot file one that is made of it."""
    if not path.is_file() or path.suffix not in (".h5", ".hdf5"):
        return path
    from cmp_core.analysis.stored import run_of_snapshot

    with out().status(escape(f"measuring {path.name}")):
        return run_of_snapshot(path)


def _with_metric_info(run: RunRecord) -> RunRecord:
    """Return a run that has stored nothing about its metrics with what the installed ones say."""
    if not (run.metrics and all(map(run.is_recomputed, run.metric_info))):
        return run
    try:
        from cmp_core.measurement.selection import with_installed_metric_info
    except ModuleNotFoundError as error:  # runs can be shown where torch is not installed
        if error.name != "torch":
            raise
        return run
    return with_installed_metric_info(run)


def _has_logged(run: RunRecord) -> bool:
    log = run.log
    return bool(len(log.training.epochs) or len(log.validation.epochs) or log.test)
