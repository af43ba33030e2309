"""Measuring snapshots: the metrics of a run, or others, from files instead of a network."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import joblib
import torch

from cmp_core.config.load import build_config
from cmp_core.config.schema import Config, keys_about
from cmp_core.errors import CmpError, DataError, UsageError
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row
from cmp_core.measurement.measurer import FitSamples, Measurer
from cmp_core.measurement.saving import runs_to_save_to, saved
from cmp_core.measurement.selection import select_metrics
from cmp_core.plugins.discovery import BLOCK, is_known_here
from cmp_core.plugins.failures import Failure
from cmp_core.plugins.loader import Plugins, is_path, load_plugins
from cmp_core.runs.directory import ACTIVATIONS
from cmp_core.runs.metric_info import MetricInfo, owner_of
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.replay import replay, replay_fitting


@attrs.frozen(repr=False)
class Recomputed:
    """What a snapshot gave: its rows, or the error that kept it from being measured.

    Attributes:
        path: of the file.
        phase, epoch, step: when it was taken.
        rows: values, and reasons of missing ones, in the order of the metrics.
        failures: plugins that raised.
        info: of the metrics.
        layers: names, in order of depth.
        sample_ids: those that were measured, (n,).
        content_hash: of the file, or empty.
        notes: what of the file's own selection was left out, in sentences.
        error: why there is nothing; none where there is.
    """

    path: Path
    phase: str = ""
    epoch: int = 0
    step: int = 0
    rows: tuple[Row, ...] = ()
    failures: tuple[Failure, ...] = ()
    info: tuple[MetricInfo, ...] = ()
    layers: tuple[str, ...] = ()
    sample_ids: tuple[int, ...] = attrs.field(default=(), repr=False)
    content_hash: str = ""
    notes: tuple[str, ...] = ()
    error: str | None = None

    def __repr__(self) -> str:
        when = f"{self.phase}, epoch {self.epoch}, {len(self.rows)} rows"
        return f"<Recomputed {self.path.name}: {self.error or when}>"

    def rows_by_label(self) -> dict[str, tuple[Row, ...]]:
        """Return the rows of each metric that has a value at any layer, by its label."""
        labels = [info.label for info in self.info]
        rows: dict[str, tuple[Row, ...]] = {}
        for label in labels:
            own = tuple(row for row in self.rows if owner_of(row.metric, labels) == label)
            if any(row.value is not None for row in own):
                rows[label] = own
        return rows

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as flat mappings of plain values, for JSON and CSV."""
        for row in self.rows:
            yield {
                "snapshot": str(self.path),
                "phase": self.phase,
                "epoch": self.epoch,
                "step": self.step,
                "layer": row.layer,
                "other": row.other,
                "metric": row.metric,
                "value": list(row.value) if isinstance(row.value, tuple) else row.value,
                "error": list(row.error) if isinstance(row.error, tuple) else row.error,
                "reason": row.reason,
                "n": row.n,
                "pair": row.pair,
                "fit": None if row.fit is None else row.fit.source,
                "n_fit": None if row.fit is None else row.fit.n,
                "by_half_fit": None if row.fit is None else row.fit.half,
            }


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
            inner = path / ACTIVATIONS
            folder = inner if inner.is_dir() else path
            files = sorted(folder.glob("**/[!.]*.h5"), key=_natural)
            if not files:
                raise UsageError(f"'{path}' holds no snapshot: there is no .h5 file in it")
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise UsageError("expected at least one run, folder or snapshot")
    return list(found.values())


def recompute(
    paths: Sequence[str | Path],
    metrics: Any = None,
    plugins: Sequence[str] = (),
    plugins_dir: Path | None = None,
    workers: int | None = None,
    *,
    save: bool = False,
) -> Iterator[Recomputed]:
    """Yield what each snapshot gives, in the order of `find_snapshots`, as soon as it is there.

    Of the plugins that a snapshot names, those are loaded that are built in, installed or shipped:
    a file of anyone's must not choose which code is executed.

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

    Raises:
        UsageError: a path holds no snapshot, or what is asked for is not there; nothing is saved
            of metrics that a run has logged itself, and to what is no run.
    """
    files = find_snapshots(paths)
    labels: list[str] = []
    if metrics is not None:  # a mistake in it is one mistake, however many files there are
        asked = build_config({"metrics": metrics, "plugins": list(plugins)}, _SELECTION)
        selected = select_metrics(load_plugins(asked.plugins, plugins_dir), asked)
        labels = [metric.label for metric in selected]
    runs = runs_to_save_to(paths, labels) if save else []
    results = _results(files, metrics, plugins, plugins_dir, workers)
    return saved(results, runs) if save else results


def _results(
    files: Sequence[Path],
    metrics: Any,
    plugins: Sequence[str],
    plugins_dir: Path | None,
    workers: int | None,
) -> Iterator[Recomputed]:
    if workers is None and len(files) == 1:
        return (_recompute(file, metrics, plugins, plugins_dir, 1) for file in files)
    processes = min(workers or joblib.cpu_count(), len(files))
    parallel = joblib.Parallel(n_jobs=processes, return_as="generator")
    task = joblib.delayed(_recompute_on_one_thread)
    results: Iterator[Recomputed] = parallel(
        task(Path.cwd(), file, metrics, plugins, plugins_dir, processes) for file in files
    )
    return results


def _recompute(
    path: Path, metrics: Any, plugins: Sequence[str], plugins_dir: Path | None, processes: int
) -> Recomputed:
    try:
        with open_snapshot(path) as snapshot:
            snapshot.verify()
            config, foreign = selection_of(snapshot, metrics, plugins)
            return measure(snapshot, config, plugins_dir, foreign, processes)
    except CmpError as error:
        about = "" if str(path) in str(error) else f"'{path}': "
        is_selection = isinstance(error, UsageError) and not isinstance(error, DataError)
        hint = " (--metrics A,B needs none of the run's own plugins)" if is_selection else ""
        return Recomputed(path, error=f"{about}{error}{'' if metrics else hint}")


def _recompute_on_one_thread(folder: Path, *task: Any) -> Recomputed:
    """Leave the other cores to the other workers: together they get more done than by threads.

    Args:
        folder: what relative paths are relative to; a worker may be an older one.
        task: arguments of `_recompute`.
    """
    os.chdir(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _recompute(*task)
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def measure(
    snapshot: Snapshot,
    config: Config,
    plugins_dir: Path | None = None,
    foreign: Sequence[str] = (),
    processes: int = 1,
    listeners: Sequence[object] = (),
) -> Recomputed:
    """Measure an open snapshot with the metrics of a configuration.

    Args:
        snapshot: what to measure.
        config: selects metrics, and names the plugins to load.
        plugins_dir: as `--plugins-dir`.
        foreign: plugins that the snapshot names and that are not loaded because of that; metrics
            that nothing has registered are taken for theirs, and left out.
        processes: how many share the memory.
        listeners: hear of the events beside the metrics.

    Raises:
        CmpError: a metric or plugin of the configuration is unknown, or the data are damaged.
    """
    loaded = load_plugins(config.plugins, plugins_dir)
    config, notes = _without_skipped(loaded, config, foreign)
    classes = tuple(map(str, range(snapshot.num_classes)))
    names = tuple(layer.name for layer in snapshot.layers)
    run = Run(config, classes, names, output=snapshot.output or None)
    metrics = select_metrics(loaded, config)
    measurer = Measurer(metrics, run, loaded.manager, config.on_plugin_error, sharing=processes)
    for listener in listeners:
        measurer.dispatcher.add_essential(listener)
    scored, targets = snapshot.scored, snapshot.targets
    fits = None
    if snapshot.fit is not None:
        fitting = None if targets is None else targets[snapshot.fit]
        samples = FitSamples(int(snapshot.fit.sum()), fitting, lambda: replay_fitting(snapshot))
        fits = measurer.fit(samples, None if targets is None else targets[scored])
    rows = measurer.split(
        snapshot.sample_ids[scored],
        None if targets is None else targets[scored],
        lambda pass_index: replay(snapshot, pass_index),
        fits,
        errors=True,
    )
    return Recomputed(
        path=snapshot.path,
        phase=snapshot.phase,
        epoch=snapshot.epoch,
        step=snapshot.step,
        rows=rows,
        failures=measurer.dispatcher.failures,
        info=tuple(metric.info() for metric in metrics),
        layers=names,
        sample_ids=tuple(snapshot.sample_ids[scored].tolist()),
        content_hash=snapshot.content_hash,
        notes=notes,
    )


def _without_skipped(
    loaded: Plugins, config: Config, foreign: Sequence[str]
) -> tuple[Config, tuple[str, ...]]:
    """Return a configuration without the metrics of plugins that were not loaded, and what to say.

    A plugin of the same name that was asked for stands for the one that the snapshot names.
    """
    names = {spec: Path(spec).stem if is_path(spec) else spec for spec in foreign}
    skipped = [spec for spec, name in names.items() if name not in loaded.origins]
    if not skipped:
        return config, ()
    asked = () if config.metrics == "all" else config.metrics
    known = {"all", *loaded.registry.names("metric")}
    kept = tuple(one for one in asked if one.name.removeprefix(BLOCK) in known)
    lost = dict.fromkeys(
        one.name for one in asked if one not in kept and not one.name.startswith(BLOCK)
    )
    if asked:  # of a list that names nothing but what is not wanted, all others are
        config = attrs.evolve(config, metrics=kept if kept or lost else "all")
    what = "plugins" if len(skipped) > 1 else "plugin"
    left_out = f"metrics left out: {', '.join(lost)}; " if lost else ""
    load = " ".join(f"-p {shlex.quote(spec)}" for spec in skipped)
    return config, (
        f"{left_out}{what} named by the file, and loaded only when asked for: add {load}",
    )


def selection_of(
    snapshot: Snapshot, metrics: Any = None, plugins: Sequence[str] = ()
) -> tuple[Config, tuple[str, ...]]:
    """Return what of the configuration of the snapshot's run is about measuring, changed as asked.

    In a configuration of another program the same keys mean other things. Beside it come the
    plugins that the snapshot names and that are not known here.
    """
    values: dict[str, Any] = {}
    if snapshot.run_id:
        stored = snapshot.read_config()
        values = {key: stored[key] for key in keys_about("measurement") if key in stored}
    if metrics is not None:
        # The run's own plugins may be gone, and are not needed for other metrics.
        values = {"metrics": metrics, "on_plugin_error": values.get("on_plugin_error", "disable")}
    config = build_config(values, _SELECTION)
    own = [spec for spec in config.plugins if is_known_here(spec)]
    foreign = (s for s in config.plugins if s not in own and not s.startswith(BLOCK))
    return attrs.evolve(config, plugins=(*own, *plugins)), tuple(dict.fromkeys(foreign))


_SELECTION = "the selection of metrics"


def _natural(path: Path) -> list[Any]:
    """Return a key that puts step_9 before step_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]
