"""A snapshot as a run: measured, and written as a run directory that plots and reports read."""

from __future__ import annotations

import atexit
import json
import math
import shutil
import tempfile
from pathlib import Path

import attrs
import numpy as np

from cmp_core.config.load import dump_yaml
from cmp_core.console import warn
from cmp_core.errors import DataError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import Run, RunFinished
from cmp_core.events.rows import Row
from cmp_core.listeners.test_results import TestResultsWriter
from cmp_core.measurement.snapshot import measure, selection_of
from cmp_core.runs.directory import ENVIRONMENT, LOG, METRICS, OBSERVED, PARAMS, write_whole
from cmp_core.runs.metric_info import dump_metric_info
from cmp_core.snapshots.read import Snapshot, open_snapshot


class _AsTest:
    """Writes the samples of a snapshot, of whatever split they are, as a test.

    Args:
        file: the snapshot.
        directory: where the files go.
    """

    def __init__(self, file: Path, directory: Path) -> None:
        self._file, self._directory = str(file), directory
        self._writer = TestResultsWriter(directory, "snapshot")
        self._hits: list[float] = []
        self._run: Run | None = None

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations, run: Run) -> None:
        """Take a chunk in."""
        self._run = run
        if event.part != "chunk" or event.pass_index != 1:
            return
        self._writer.cmp_layer_activations(attrs.evolve(event, phase="test", epoch=1))
        output = next((layer for layer in event.layers if layer.name == run.output), None)
        if output is not None and output.scores is not None and event.labels is not None:
            self._hits += (output.scores.argmax(1) == event.labels).double().tolist()

    def finish(self, rows: tuple[Row, ...], epoch: int, step: int, n: int) -> None:
        """Write the files."""
        if self._run is None:
            raise DataError("there are no samples to measure")
        run = attrs.evolve(self._run, directory=self._directory)
        about = {"layers": list(run.layer_names), "output": run.output, "snapshot": self._file}
        write_whole(self._directory / ENVIRONMENT, json.dumps(about) + "\n")
        acc = float(np.mean(self._hits)) if self._hits else math.nan
        # Epoch 0 would be the untrained network, with which a test is compared.
        finished = RunFinished(max(1, epoch), step, acc, math.nan, rows, n=n)
        self._writer.cmp_run_finished(finished, run)


def run_of_snapshot(path: Path) -> Path:
    """Measure a snapshot, and return a run directory with its values, which ends with the program.

    Its samples stand for a test. A file that tells no configuration is an experiment of its own,
    called like the file.

    Raises:
        CmpError: it cannot be read or measured.
    """
    root = Path(tempfile.mkdtemp(prefix="cmp_"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    directory = root / path.stem
    directory.mkdir()
    listener = _AsTest(path, directory)
    with open_snapshot(path) as snapshot:
        snapshot.verify()
        config, foreign = selection_of(snapshot)
        measured = measure(snapshot, config, foreign=foreign, listeners=[listener])
        params, n = _params(path, snapshot), len(snapshot.scored)
    for note in measured.notes:
        warn(f"{path}: {note}")
    for failure in measured.failures:
        warn(f"{path}: plugin {failure.plugin} raised in {failure.hook}: {failure.error}")
    write_whole(directory / PARAMS, dump_yaml(params))
    write_whole(directory / METRICS, dump_metric_info(measured.info))
    write_whole(directory / LOG, "")
    listener.finish(measured.rows, measured.epoch, measured.step, n)
    return directory


def _params(path: Path, snapshot: Snapshot) -> dict[str, object]:
    """Return what tells the run from others."""
    layers = {layer.name: "stored" for layer in snapshot.layers}
    stored = snapshot.read_config()
    # Without a configuration nothing but the name of the file tells it from others.
    own = {} if stored else {"model": path.stem, "file": path.stem}
    named = {"dataset": snapshot.dataset, "model": snapshot.model}
    return {
        "dataset": "?",
        **own,
        "seed": None,
        "layers": len(layers) - bool(snapshot.output),
        **stored,
        **{key: name for key, name in named.items() if name},
        OBSERVED: layers,
    }
