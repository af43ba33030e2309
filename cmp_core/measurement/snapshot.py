"""Measuring one snapshot, with the metrics of its run or with others."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch

from cmp_core.config.load import build_config
from cmp_core.config.schema import Config, keys_about
from cmp_core.errors import CmpError, DataError, UsageError
from cmp_core.events.payloads import Run
from cmp_core.measurement.children import limited
from cmp_core.measurement.measurer import FitSamples, Measurer
from cmp_core.measurement.recomputed import Recomputed
from cmp_core.measurement.selection import select_metrics
from cmp_core.plugins.discovery import (
    BLOCK,
    BUILT_IN_PACKAGES,
    built_in_modules,
    is_known_here,
)
from cmp_core.plugins.loader import Plugins, is_path, load_plugins
from cmp_core.plugins.stored import how_to_have, missing_packages
from cmp_core.runs.directory import run_of
from cmp_core.snapshots.read import Snapshot, open_snapshot
from cmp_core.snapshots.replay import replay, replay_fitting


def measured(
    path: Path,
    metrics: Any,
    plugins: Sequence[str],
    plugins_dir: Path | None,
    copies: Mapping[str, Path],
    processes: int,
    threads: int | None,
    limits: Callable[[int], AbstractContextManager[Any]] = nullcontext,
) -> Recomputed:
    """Return what a file gives, or the error that keeps it from being measured.

    Args:
        path: the file.
        metrics, plugins, plugins_dir: as of `recompute`.
        copies: as `load_plugins`, of plugins that the file's run keeps.
        processes: how many share the memory.
        threads: of torch, none for one on each core.
        limits: takes how many bytes are read, and limits what reading them may cost.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with limits(0):
            snapshot = open_snapshot(path)
        with snapshot:
            with limits(snapshot.nbytes):
                snapshot.verify()
            config, foreign = selection_of(snapshot, metrics, plugins)
            return measure(snapshot, config, plugins_dir, foreign, processes, copies=copies)
    except CmpError as error:
        about = "" if str(path) in str(error) else f"'{path}': "
        is_selection = isinstance(error, UsageError) and not isinstance(error, DataError)
        hint = ""
        if is_selection and not metrics:
            missing = "".join(f"; {told}" for told in [missing_packages(run_of(path))] if told)
            hint = f"{missing} (--metrics A,B needs none of the run's own plugins)"
        return Recomputed(path, error=f"{about}{error}{hint}")
    finally:
        torch.set_num_threads(before)


measured_in_child = partial(measured, limits=limited)
"""The same in a process that ends then, and so may be limited."""


def labels_of(
    metrics: Any,
    plugins: Sequence[str],
    plugins_dir: Path | None,
    copies: Sequence[Mapping[str, Path]],
) -> list[str]:
    """Return the labels of metrics that are asked for.

    Args:
        metrics, plugins, plugins_dir: as of `recompute`.
        copies: as `load_plugins`, those for each file.

    Raises:
        UsageError: there is no such metric, or a plugin cannot be loaded.
    """
    config = build_config({"metrics": metrics, "plugins": list(plugins)}, _SELECTION)
    labels: dict[str, None] = {}
    for own in {tuple(own): own for own in copies}.values():
        loaded = load_plugins((*config.plugins, *own), plugins_dir, copies=own)
        labels |= dict.fromkeys(metric.label for metric in select_metrics(loaded, config))
    return list(labels)


def import_built_ins() -> None:
    """Import the built-in plugins, so that children need not."""
    for package in BUILT_IN_PACKAGES:
        for name, _ in built_in_modules(package):
            importlib.import_module(f"{package}.{name}")


@torch.no_grad()
def measure(
    snapshot: Snapshot,
    config: Config,
    plugins_dir: Path | None = None,
    foreign: Sequence[str] = (),
    processes: int = 1,
    listeners: Sequence[object] = (),
    copies: Mapping[str, Path] | None = None,
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
        copies: as `load_plugins`.

    Raises:
        CmpError: a metric or plugin of the configuration is unknown, or the data are damaged.
    """
    copies = copies or {}
    loaded = load_plugins((*config.plugins, *copies), plugins_dir, copies=copies)
    config, notes = _without_skipped(loaded, config, foreign, run_of(snapshot.path))
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
    loaded: Plugins, config: Config, foreign: Sequence[str], run: Path
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
    ways = " or ".join(filter(None, [load, how_to_have(run, skipped)]))
    missing = "".join(f"; {told}" for told in [missing_packages(run)] if told)
    return config, (
        f"{left_out}{what} named by the file, and loaded only when asked for: add {ways}{missing}",
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
