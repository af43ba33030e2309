"""What the test of the best weights leaves: results, predictions, confusion, report per class."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import UsageError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.hookspecs import hookimpl
from cmp_core.events.payloads import Run, RunFinished
from cmp_core.events.rows import Row, finite_or_none, log_form
from cmp_core.listeners.saving import saving
from cmp_core.runs.directory import (
    CLASS_REPORT,
    CONFUSION,
    TEST_INFLUENCES,
    TEST_PREDICTIONS,
    TEST_RESULTS,
    save_whole,
    write_whole,
)


class TestResultsWriter:
    """Gathers every layer's predictions on the test split and writes them when the run is done.

    Args:
        folder: where the files go.
        checkpoint: whose weights are tested, `best` or `last`.
        processes: of which each predicts for samples of its own; the first one writes.

    Raises:
        UsageError: a folder stands where a file is to be written, before any of them is.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    def __init__(
        self, folder: Path, checkpoint: str = "best", processes: Processes = ALONE
    ) -> None:
        for path in (folder / name for name in _FILES):
            if path.is_dir() and not path.is_symlink():
                raise UsageError(f"'{path}' is a folder; move it away: a file is written there")
        self._folder, self._processes = folder, processes
        self._checkpoint = checkpoint
        self._parts: list[dict[str, Tensor]] = []

    @hookimpl
    def cmp_layer_activations(self, event: LayerActivations) -> None:
        """Keep what each layer predicts for a chunk of the test split."""
        is_first = event.part == "chunk" and event.pass_index == 1
        if event.phase != "test" or not is_first:
            return
        if event.epoch == 0:  # the untrained network, whose predictions nobody asks for
            return
        predicted = {
            layer.name: layer.scores.argmax(1).cpu()
            for layer in event.layers
            if layer.scores is not None
        }
        known = {"sample_ids": event.sample_ids.cpu()}
        if event.folds is not None:  # samples are written in the order in which they are split
            known[_PLACES] = event.folds.places(event.sample_ids).cpu()
        if event.labels is not None:
            known |= {"labels": event.labels.cpu(), **predicted}
        self._parts.append(known)

    @hookimpl
    def cmp_run_finished(self, event: RunFinished, run: Run) -> None:
        """Write the files, unless nothing was tested."""
        if event.acc is None or event.test_loss is None:
            return
        accuracy, loss = event.acc, event.test_loss
        parts = list(chain.from_iterable(self._processes.gather(self._parts)))
        self._parts = []
        if self._processes.is_first:
            with saving(self._folder / TEST_RESULTS):
                self._write_all(_columns(parts), accuracy, loss, event, run)

    def _write_all(
        self,
        columns: dict[str, NDArray[np.int64]],
        accuracy: float,
        loss: float,
        event: RunFinished,
        run: Run,
    ) -> None:
        layers = [name for name in run.layer_names if name in columns]
        results = {
            "acc": finite_or_none(accuracy),
            "acc_layers": {x: float(np.mean(columns[x] == columns["labels"])) for x in layers},
            "loss": finite_or_none(loss),
            "checkpoint": self._checkpoint,
            "epoch": event.epoch,
            **log_form(event.rows, run.layer_names, event.n),
            "untrained": log_form(event.untrained_rows, run.layer_names, event.n),
        }
        self._write(TEST_RESULTS, results)
        if math.isfinite(accuracy):
            self._write_by_class(columns["labels"], columns[layers[-1]], run.class_names)
        influences: dict[str, NDArray[Any]] = {
            "sample_ids": columns["sample_ids"],
            **_influences(event.rows),
            **_influences(event.untrained_rows, "untrained/"),
        }
        if "labels" in columns:
            save_whole(self._folder / TEST_PREDICTIONS, partial(_save_arrays, columns))
        save_whole(self._folder / TEST_INFLUENCES, partial(_save_arrays, influences))

    def _write_by_class(
        self,
        labels: NDArray[np.int64],
        predictions: NDArray[np.int64],
        class_names: tuple[str, ...],
    ) -> None:
        from sklearn.metrics import confusion_matrix

        self._write(CLASS_REPORT, _class_report(labels, predictions, class_names))
        confusion = confusion_matrix(labels, predictions, labels=range(len(class_names)))
        save_whole(self._folder / CONFUSION, lambda file: np.save(file, confusion))

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        write_whole(self._folder / name, json.dumps(content, indent=2, allow_nan=False) + "\n")


_FILES = (TEST_RESULTS, CLASS_REPORT, CONFUSION, TEST_PREDICTIONS, TEST_INFLUENCES)

_PLACES = ""
"""Stands for the places of samples in the split where a layer's name is expected."""


def _columns(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, NDArray[np.int64]]:
    """Return sample ids, labels and predictions of all parts, in the order of the split."""
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if _PLACES in columns:
        order = columns.pop(_PLACES).argsort()
        columns = {name: column[order] for name, column in columns.items()}
    return {name: column.numpy() for name, column in columns.items()}


def _influences(rows: Sequence[Row], prefix: str = "") -> dict[str, NDArray[np.float32]]:
    """Return what the standard errors come from, by layer and metric."""
    return {
        f"{prefix}{row.layer}/{row.metric}": row.influence.astype(np.float32)
        for row in rows
        if row.influence is not None and not row.pair
    }


def _save_arrays(arrays: Mapping[str, NDArray[Any]], file: BinaryIO) -> None:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _class_report(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], class_names: tuple[str, ...]
) -> dict[str, Any]:
    from sklearn.metrics import classification_report

    report = classification_report(
        labels,
        predictions,
        labels=range(len(class_names)),
        target_names=class_names,
        output_dict=True,
        zero_division=np.nan,
    )
    return {name: _without_nan(scores) for name, scores in report.items()}


def _without_nan(value: Any) -> Any:
    """Return null where a score is undefined, as strict JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if np.isnan(value) else value
