"""Reading `log.jsonl` and `test_results.json`: from lines to series of values."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.rows import INPUT

Key = tuple[str, str, str]
"""Phase, layer and metric of a series. The phases:

- `batch`: training batches, each measured by itself;
- `train`: the fixed training subset at the ends of epochs;
- `val` and `test`: whole splits; `test` is the test of the best weights.
"""

PHASES = ("val", "train", "test", "batch")


@attrs.frozen(eq=False)
class Series:
    """The values of one metric at one layer in one phase, in the order of training.

    Attributes:
        epochs, steps: (k,) int64; the step is 0 where it is not known.
        values: (k,) float64, finite.
        n: (k,) int64, samples that each value rests on; 0 where that is not known.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    n: NDArray[np.int64]


@attrs.frozen(eq=False)
class Vector:
    """A vector-valued or pairwise value at one time: (p,), or (L, L) with NaN where undefined."""

    epoch: int
    step: int
    value: NDArray[np.float64]


@attrs.frozen(eq=False)
class Curve:
    """Loss and accuracy of the output layer over time, NaN where a line has none; (k,) each."""

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    acc: NDArray[np.float64]


@attrs.frozen(eq=False)
class RunLog:
    """All values of a run.

    Attributes:
        training, validation: loss and accuracy of every step, and of every end of an epoch.
        series: values by phase, layer and metric; the reference is the layer `input`.
        vectors: vector-valued metrics, by phase, layer and metric.
        pairs: matrices over the layers in order, by phase and metric.
        missing: why values are missing, and how often, by phase, layer and metric.
        test: the content of `test_results.json`; empty where there is none.
        averages_batches: whether `train` is the mean over the measured batches of each epoch,
            for want of a training subset in the log. It is not what a metric would give for all
            of their samples together.
        problems: what could not be read, in sentences.
    """

    training: Curve
    validation: Curve
    series: Mapping[Key, Series]
    vectors: Mapping[Key, tuple[Vector, ...]]
    pairs: Mapping[tuple[str, str], tuple[Vector, ...]]
    missing: Mapping[Key, Mapping[str, int]]
    test: Mapping[str, Any]
    averages_batches: bool = False
    problems: tuple[str, ...] = ()


def read_log(log: Path, test_results: Path | None = None) -> RunLog:
    """Read a log, and the test's results where they are given and there.

    A line that is not whole, as a killed run may leave one at the end, is told in `problems` and
    left out. `NaN` and infinity, which other writers may log, count as missing.
    """
    gathered = _Gathered()
    for number, text in enumerate(_lines(log), start=1):
        try:
            line = json.loads(text)
            gathered.add_line(line)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            gathered.problems.append(f"'{log}', line {number} is left out: {_sentence(error)}")
    test: dict[str, Any] = {}
    if test_results is not None and test_results.exists():
        try:
            test = json.loads(test_results.read_text(encoding="utf-8"))
            gathered.add_test(test)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            test = {}
            gathered.problems.append(f"'{test_results}' is left out: {_sentence(error)}")
    return gathered.finished(test)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        return iter([line for line in file.read().splitlines() if line.strip()])


def _sentence(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return "it is not whole JSON"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return f"its form is not that of a log ({error})"


class _Gathered:
    """Columns that grow line by line."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._training: list[tuple[int, int, float, float]] = []
        self._validation: list[tuple[int, int, float, float]] = []
        self._values: defaultdict[Key, list[tuple[int, int, float, int]]] = defaultdict(list)
        self._vectors: defaultdict[Key, list[Vector]] = defaultdict(list)
        self._pairs: defaultdict[tuple[str, str], list[Vector]] = defaultdict(list)
        self._missing: defaultdict[Key, defaultdict[str, int]] = defaultdict(
            lambda: defaultdict(int)
        )
        self._step = 0

    def add_line(self, line: Any) -> None:
        """Take in a line of a training step or of an end of an epoch."""
        phase, epoch = line["phase"], int(line["epoch"])
        if phase == "train":
            self._step = int(line.get("step", self._step + 1))
            point = (epoch, self._step, _number(line.get("loss")), _number(line.get("acc")))
            self._training.append(point)
            self._add(line, "batch", "", epoch, self._step)
        elif phase == "val":
            point = (epoch, self._step, _number(line.get("val_loss")), _number(line.get("acc")))
            self._validation.append(point)
            self._add(line, "val", "", epoch, self._step)
            self._add(line, "train", "train_", epoch, self._step)

    def add_test(self, results: Any) -> None:
        """Take in the content of `test_results.json`."""
        epoch = int(results.get("epoch", 0))
        self._add(results, "test", "", epoch, 0)

    def _add(self, line: Any, phase: str, prefix: str, epoch: int, step: int) -> None:
        whole = int(line.get(f"{prefix}n", 0))
        counts = line.get(f"{prefix}counts", {})
        rows = dict(line.get(f"{prefix}metrics", {}))
        if f"{prefix}reference" in line:
            rows[INPUT] = line[f"{prefix}reference"]
        for layer, values in rows.items():
            fewer = counts.get(layer, {})
            for metric, value in values.items():
                number = _number(value)
                if math.isfinite(number):
                    point = (epoch, step, number, int(fewer.get(metric, whole)))
                    self._values[phase, layer, metric].append(point)
                else:
                    self._missing[phase, layer, metric][f"{value} in the log"] += 1
        for layer, vectors in line.get(f"{prefix}vectors", {}).items():
            for metric, vector in vectors.items():
                value = np.array([_number(x) for x in vector])
                self._vectors[phase, layer, metric].append(Vector(epoch, step, value))
        for metric, matrix in line.get(f"{prefix}pairs", {}).items():
            value = np.array([[_number(x) for x in row] for row in matrix])
            self._pairs[phase, metric].append(Vector(epoch, step, value))
        for layer, reasons in line.get(f"{prefix}missing", {}).items():
            for metric, reason in reasons.items():
                self._missing[phase, layer, metric][str(reason)] += 1

    def finished(self, test: Mapping[str, Any]) -> RunLog:
        series = {key: _series(points) for key, points in self._values.items()}
        averages_batches = not any(phase == "train" for phase, _, _ in series)
        if averages_batches:
            series |= _means_over_epochs(series)
        return RunLog(
            training=_curve(self._training),
            validation=_curve(self._validation),
            series=series,
            vectors={key: tuple(vectors) for key, vectors in self._vectors.items()},
            pairs={key: tuple(matrices) for key, matrices in self._pairs.items()},
            missing={key: dict(reasons) for key, reasons in self._missing.items()},
            test=test,
            averages_batches=averages_batches,
            problems=tuple(self.problems),
        )


def _number(value: Any) -> float:
    """Return a number, NaN for null; JSON's `NaN` and `Infinity` are numbers already."""
    return math.nan if value is None else float(value)


def _curve(points: Iterable[tuple[int, int, float, float]]) -> Curve:
    epochs, steps, loss, acc = _columns(points)
    return Curve(epochs.astype(np.int64), steps.astype(np.int64), loss, acc)


def _series(points: Iterable[tuple[int, int, float, int]]) -> Series:
    epochs, steps, values, n = _columns(points)
    return Series(epochs.astype(np.int64), steps.astype(np.int64), values, n.astype(np.int64))


def _columns(points: Iterable[tuple[float, ...]]) -> tuple[NDArray[np.float64], ...]:
    table = np.array(list(points), dtype=np.float64).reshape(-1, 4)
    return tuple(table.T)


def _means_over_epochs(series: Mapping[Key, Series]) -> dict[Key, Series]:
    """Return means over the batches of each epoch, as `train` series; n stays that of a batch."""
    means = {}
    for (phase, layer, metric), batches in series.items():
        if phase == "batch":
            epochs, place = np.unique(batches.epochs, return_inverse=True)
            values = np.bincount(place, batches.values) / np.bincount(place)
            last = np.searchsorted(batches.epochs, epochs, side="right") - 1
            means["train", layer, metric] = Series(
                epochs, batches.steps[last], values, batches.n[last]
            )
    return means
