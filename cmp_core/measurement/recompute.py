"""Measuring snapshots: the metrics of a run, or others, from files instead of a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import joblib

from cmp_core.errors import UsageError
from cmp_core.measurement.children import Call, Children
from cmp_core.measurement.recomputed import Recomputed
from cmp_core.measurement.saving import runs_to_save_to, saved
from cmp_core.plugins.loader import is_path
from cmp_core.plugins.stored import copies_of
from cmp_core.runs.directory import ACTIVATIONS, open_run, run_of
from cmp_core.runs.walking import MOST_FOLDERS, Folder, Walk

_SNAPSHOT = "cmp_core.measurement.snapshot"  # which imports torch


def find_snapshots(paths: Iterable[str | Path]) -> list[Path]:
    """Return the snapshot files of runs, folders and files, each once, in the order of training.

    Raises:
        UsageError: there is no path, one does not exist, or a folder holds no snapshot.
    """
    if isinstance(paths, (str, Path)):
        raise UsageError(f"expected a sequence of paths, got '{paths}': write ['{paths}']")
    found: dict[Path, Path] = {}
    for given in paths:
        path = Path(given)
        if not path.exists():
            raise UsageError(f"'{path}' does not exist; expected a run, a folder or a snapshot")
        files = [path]
        if path.is_dir():
            walk = walk_to_snapshots(path)
            files = snapshots_in(walk)
            if not walk.is_whole:
                raise UsageError(
                    f"'{path}' has more than {MOST_FOLDERS:,} folders; name those of the runs"
                )
            if not files:
                raise UsageError(f"'{path}' holds no snapshot: there is no .h5 file in it")
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UsageError("expected at least one run, folder or snapshot")
    return list(found.values())


def walk_to_snapshots(folder: Path) -> Walk:
    """Return the folders in which the snapshots of a run, or of a folder, are looked for."""
    inner = folder / ACTIVATIONS
    return Walk(inner if inner.is_dir() else folder)


def snapshots_in(folders: Iterable[Folder]) -> list[Path]:
    """Return the snapshot files that stand in folders, in the order of training."""
    files = (folder.path / name for folder in folders for name in folder.files)
    return sorted((file for file in files if file.suffix == ".h5"), key=_natural)


def recompute(
    paths: Sequence[str | Path],
    metrics: Any = None,
    plugins: Sequence[str] = (),
    plugins_dir: Path | None = None,
    workers: int | None = None,
    *,
    save: bool = False,
    plugins_from_run: bool = False,
) -> Iterator[Recomputed]:
    """Yield what each snapshot gives, in the order of `find_snapshots`, as soon as it is there.

    Of the plugins that a snapshot names, those are loaded that are built in, installed or shipped:
    a file of anyone's must not choose which code is executed. Several files are measured in
    processes of their own, so that one that crashes HDF5 costs itself alone; a single file, or
    `workers=1`, in this one.

    Args:
        paths: runs, folders and files.
        metrics: the selection, as `metrics:` in a configuration; none: that of the snapshot's run,
            or all metrics where the file does not tell.
        plugins: as `-p`.
        plugins_dir: as `--plugins-dir`.
        workers: processes, of one thread each; none: one for each core, but one that has all
            cores where there is a single snapshot.
        save: add the values to the runs, each as soon as all of its snapshots are measured; what
            `load_run` returns, and so plots and reports, then have them. Of a metric without a
            value at any layer of a snapshot nothing is added, which is warned of.
        plugins_from_run: load the copies of plugin files that the runs keep, which is code that
            lies in the run directories. One of `plugins` takes the place of a copy of its name.

    Raises:
        UsageError: a path holds no snapshot, or what is asked for is not there; nothing is saved
            of metrics that a run has logged itself, and to what is no run; a copy is not what the
            run has kept.
    """
    files = find_snapshots(paths)
    if workers != 1 and (workers or len(files)) > 1:
        return recompute_in_children(
            paths,
            metrics,
            plugins,
            plugins_dir,
            workers,
            save=save,
            plugins_from_run=plugins_from_run,
        )
    from cmp_core.measurement.snapshot import labels_of, measured

    copies = _copies(files, plugins, plugins_from_run)
    asked = (metrics, plugins, plugins_dir)
    labels = [] if metrics is None else labels_of(*asked, list(copies.values()))
    runs = runs_to_save_to(paths, labels) if save else []
    results = (measured(file, *asked, copies[file], 1, workers) for file in files)
    return saved(results, runs) if save else results


def recompute_in_children(
    paths: Sequence[str | Path],
    metrics: Any = None,
    plugins: Sequence[str] = (),
    plugins_dir: Path | None = None,
    workers: int | None = None,
    *,
    save: bool = False,
    plugins_from_run: bool = False,
) -> Iterator[Recomputed]:
    """Do as `recompute`, with a process for each file, a single one too; torch is not imported."""
    files = find_snapshots(paths)
    copies = _copies(files, plugins, plugins_from_run)
    count = min(workers or joblib.cpu_count(), len(files))
    threads = None if workers is None and len(files) == 1 else 1
    children = Children(count, f"{_SNAPSHOT}:import_built_ins")
    asked = (metrics, plugins, plugins_dir)
    try:
        # A mistake in the selection is one mistake, however many files there are.
        selection = (*asked, list(copies.values()))
        labels = [] if metrics is None else children.result((f"{_SNAPSHOT}:labels_of", selection))
        runs = runs_to_save_to(paths, labels) if save else []
    except BaseException:
        children.close()
        raise
    measured = f"{_SNAPSHOT}:measured_in_child"
    calls = [(measured, (file, *asked, copies[file], count, threads)) for file in files]
    results = _results(children, files, calls)
    return saved(results, runs) if save else results


def _results(
    children: Children, files: Sequence[Path], calls: Sequence[Call]
) -> Iterator[Recomputed]:
    with children:
        for file, outcome in zip(files, children.results(calls), strict=True):
            problem = None if outcome.problem is None else f"'{file}': {outcome.problem}"
            yield outcome.value if problem is None else Recomputed(file, error=problem)


def _copies(
    files: Sequence[Path], plugins: Sequence[str], plugins_from_run: bool
) -> dict[Path, dict[str, Path]]:
    """Return for each file the copies of plugins that its run keeps, as `load_plugins` takes them.

    Raises:
        UsageError: a file is of no run, or a copy is not what the run has kept.
    """
    if not plugins_from_run:
        return {file: {} for file in files}
    given = {Path(spec).stem for spec in plugins if is_path(spec)}
    by_run: dict[Path, dict[str, Path]] = {}
    for run in dict.fromkeys(map(run_of, files)):
        copies = copies_of(open_run(run)).items()
        by_run[run] = {str(path): path for name, path in copies if name not in given}
    return {file: by_run[run_of(file)] for file in files}


def _natural(path: Path) -> list[Any]:
    """Return a key that puts step_9 before step_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]
