"""`activations/*.h5`: stores a fixed set of samples at the scheduled epochs."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text
from torch import Tensor

from cmp_core.config.load import dump_config
from cmp_core.config.schema import Config, Snapshots
from cmp_core.console import folded, warn
from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import ConfigError, DataError, UsageError, unknown
from cmp_core.events.activations import LayerActivations, SplitFinished
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import Run, RunFinished, RunStarted, SnapshotWritten
from cmp_core.layers.layer import Layer
from cmp_core.layers.sampling import choose
from cmp_core.plugins.dispatch import Dispatcher
from cmp_core.runs.directory import ACTIVATIONS, SNAPSHOT_BEGUN, folder_of_run
from cmp_core.snapshots.schedule import scheduled
from cmp_core.snapshots.write import RowWriter
from cmp_core.text import counted, in_short, plural


@attrs.frozen(eq=False)
class _Rows:
    """What is stored of some samples of one event."""

    step: int
    layers: tuple[Layer, ...]
    sample_ids: Tensor
    labels: Tensor | None
    inputs: Tensor | None
    is_fitting: bool


class SnapshotListener:
    """Stores activations as they come by, and says beforehand how much that will be.

    What cannot be written, because the disk is full, costs the snapshots and not the run.

    Args:
        options: which samples, layers and epochs.
        config: as it is stored in the files.
        ids: the sample ids of the split whose phase is stored.
        fitting: those of the training samples that linear fits are made to; empty for none.
        layers: what `probe` returned, for the sizes.
        input_size, num_classes: d and C, for the sizes.
        folder: the run directory.
        dispatcher: emits `cmp_snapshot_written`.
        console: where to say what will be stored.
        processes: of which each has samples of its own; the first one writes those of all.
    """

    def __init__(
        self,
        options: Snapshots,
        config: Config,
        ids: NDArray[np.int64],
        fitting: NDArray[np.int64],
        layers: tuple[Layer, ...],
        input_size: int,
        num_classes: int,
        folder: Path,
        dispatcher: Dispatcher,
        console: Console,
        processes: Processes = ALONE,
    ) -> None:
        folder_of_run(folder, ACTIVATIONS)  # raises where it is a link
        self._processes = processes
        self._waiting: list[_Rows] = []
        self._options, self._config = options, config
        self._folder, self._dispatcher, self._console = folder, dispatcher, console
        size = len(ids) if options.samples == "all" else int(options.samples)
        self._ids = torch.from_numpy(ids[choose(ids, size)])
        self._fitting = torch.from_numpy(fitting if options.fit != "none" else fitting[:0])
        kept = chosen_layers(options, layers)
        self._names = {layer.name for layer in kept}
        self._epochs = scheduled(options.schedule, config.epochs)
        # With class means every layer gets scores, whether or not it has some of its own.
        widths = [layer.activations.shape[1] for layer in kept]
        widths += [input_size] if options.inputs else []
        numbers = sum(widths) + len(widths) * num_classes
        self._sample_bytes = numbers * np.dtype(options.dtype).itemsize
        self._writer: RowWriter | None = None
        self._has_mask = self._is_stopped = False
        self._steps_per_epoch = 0

    @hookimpl
    def cmp_run_started(self, event: RunStarted) -> None:
        """Say what will be stored, and warn where there is no room for it."""
        self._steps_per_epoch = event.steps_per_epoch
        phase = self._options.phase
        epochs = [epoch for epoch in self._epochs if epoch >= event.epoch]
        if phase == "test":
            epochs = [0, self._config.epochs]
        n, fitting = len(self._ids), len(self._fitting)
        with_fitting = sum(map(self._has_fitting, epochs))
        total = (len(epochs) * n + with_fitting * fitting) * self._sample_bytes
        told = f"{counted(len(epochs), 'snapshot')} of {counted(n, f'{phase} sample')}"
        if with_fitting:
            which = "all" if with_fitting == len(epochs) else "the last"
            samples = counted(fitting, "training sample")
            told += f", {which} with {samples} that probes are fitted to"
        for line in folded(f"{told}: {decimal(total)} in all before compression", self._console):
            self._console.print(Text(line))
        free = shutil.disk_usage(self._folder).free
        if total > free:
            warn(
                f"snapshots: {decimal(total)} may be needed and {decimal(free)} are free; "
                "store fewer with --set 'snapshots={samples: 500}', or none with --no-snapshots"
            )

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> None:
        """Write the chosen samples of a chunk, and before them those that fits are made to."""
        if not self._is_wanted(event.part, event.phase, event.epoch) or event.pass_index != 1:
            return
        is_fitting = event.part == "fit"
        chosen = self._fitting if is_fitting else self._ids
        where = torch.isin(event.sample_ids, chosen.to(event.sample_ids.device)).nonzero()[:, 0]
        rows = _Rows(
            event.step,
            tuple(_select(layer, where) for layer in self._kept(event)),
            event.sample_ids[where],
            None if event.labels is None else event.labels[where],
            event.inputs[where] if self._options.inputs and event.inputs is not None else None,
            is_fitting,
        )
        if self._processes.is_first:
            self._append(rows)
        else:
            self._waiting.append(rows)

    def _append(self, rows: _Rows) -> None:
        """Write some samples, unless storing was given up."""
        if self._is_stopped:
            return
        try:
            if self._writer is None:
                self._has_mask = rows.is_fitting
                self._writer = RowWriter(
                    self._path(rows.step),
                    self._folder / SNAPSHOT_BEGUN,
                    len(self._ids) + (len(self._fitting) if rows.is_fitting else 0),
                    self._options.dtype,
                    self._options.compression,
                )
            mask = torch.full_like(rows.sample_ids, rows.is_fitting, dtype=torch.bool)
            self._writer.append(
                rows.layers,
                rows.sample_ids,
                rows.labels,
                rows.inputs,
                mask if self._has_mask else None,
            )
        except (OSError, UsageError) as error:
            self._stop(error)

    @hookimpl
    def cmp_split_finished(self, event: SplitFinished, run: Run) -> None:
        """Put the snapshot in place and tell of it."""
        if not self._is_wanted("chunk", event.phase, event.epoch):
            return
        waiting = self._processes.gather(self._waiting)
        self._waiting = []
        if not self._processes.is_first:
            return
        for rows in chain.from_iterable(waiting):
            self._append(rows)
        if self._writer is None:
            return
        try:
            self._writer.finish(self._attributes(event, run))
        except (OSError, RuntimeError) as error:  # HDF5 raises the latter where a write failed
            self._stop(error)
            return
        path, self._writer = self._writer.path, None
        written = SnapshotWritten(path, event.phase, event.epoch, event.step, len(self._ids))
        self._dispatcher.emit("cmp_snapshot_written", written)

    @hookimpl
    def cmp_run_finished(self, event: RunFinished) -> None:
        """Record which snapshots are missing, for lack of room now or before a resumption."""
        if self._options.phase == "test":
            steps = {} if event.acc is None else {0: 0, event.epoch: event.step}
        else:
            steps = {epoch: epoch * self._steps_per_epoch for epoch in self._epochs}
        if missing := [str(e) for e, step in steps.items() if not self._path(step).exists()]:
            error = DataError(
                f"there is no snapshot of {plural('epoch', len(missing))} {in_short(missing)}; "
                "where there was no room, make some and run it again"
            )
            self._dispatcher.record("snapshots", "cmp_run_finished", error)

    @hookimpl
    def cmp_run_failed(self) -> None:
        """Drop a snapshot that is not whole."""
        self._abort()

    def _path(self, step: int) -> Path:
        return self._folder / ACTIVATIONS / f"step_{step:08d}.h5"

    def _has_fitting(self, epoch: int) -> bool:
        """Whether the file of an epoch has the samples that fits are made to."""
        if self._options.phase == "test":
            is_last = epoch > 0
        else:
            is_last = epoch == max(self._epochs, default=None)
        return len(self._fitting) > 0 and (is_last or self._options.fit == "all")

    def _is_wanted(self, part: str, phase: str, epoch: int) -> bool:
        """Whether samples are stored, of the stored split or of those that score it."""
        is_test, wants_test = phase == "test", self._options.phase == "test"
        if not (wants_test or epoch in self._epochs):
            return False
        if part == "fit":
            return is_test == wants_test and self._has_fitting(epoch)
        return part == "chunk" and phase == self._options.phase

    def _kept(self, event: LayerActivations) -> list[Layer]:
        layers = [layer for layer in event.layers if layer.name in self._names]
        if self._options.inputs and event.reference is not None:
            layers.append(event.reference)
        return layers

    def _attributes(self, event: SplitFinished, run: Run) -> dict[str, Any]:
        packages = ("chain-of-metric-predictors", "torch", "h5py", "numpy")
        return {
            "run_id": self._folder.name,
            "phase": event.phase,
            "epoch": event.epoch,
            "step": event.step,
            "dataset": self._config.dataset,
            "model": self._config.model,
            "num_classes": event.num_classes,
            "config": dump_config(self._config),
            "software": json.dumps({name: metadata.version(name) for name in packages}),
            **({} if run.output is None else {"output": run.output}),
        }

    def _stop(self, error: Exception) -> None:
        """Give up storing, not training."""
        self._abort()
        self._is_stopped = True
        warn(f"snapshots: {error}; no more are stored, training goes on")

    def _abort(self) -> None:
        self._waiting = []
        if self._writer is not None:
            self._writer.abort()
            self._writer = None


def chosen_layers(options: Snapshots, layers: tuple[Layer, ...]) -> list[Layer]:
    """Return the layers that are stored.

    Raises:
        ConfigError: there is no such layer.
    """
    if isinstance(options.layers, str):
        return list(layers)
    names = [layer.name for layer in layers]
    problems = [unknown("layer", name, names) for name in options.layers if name not in names]
    if problems:
        raise ConfigError([f"snapshots.layers: {problem}" for problem in problems])
    return [layer for layer in layers if layer.name in options.layers]


def _select(layer: Layer, where: Tensor) -> Layer:
    return attrs.evolve(
        layer,
        activations=layer.activations[where],
        scores=None if layer.scores is None else layer.scores[where],
    )
