"""Reading `log.jsonl` and `test_results.json`: from lines to series of values."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.events.rows import INPUT
from cmp_core.runs.json_file import read_text, texts_of

Key = tuple[str, str, str]
"""Phase, layer and metric of a series. The phases:

- `batch`: training batches, each measured by itself;
- `train`: the fixed training subset at the ends of epochs;
- `val` and `test`: whole splits; `test` is the test of the best weights.
"""

K = TypeVar("K")
V = TypeVar("V")

PHASES = ("val", "train", "test", "batch")

_Point = tuple[float, ...]
"""Epoch, step, and then loss and accuracy, or of a metric what `Series` has in this order."""

Time = tuple[int, int, int]
"""Epoch, step, and the place among lines that share both."""


@attrs.frozen(eq=False)
class Series:
    """The values of one metric at one layer in one phase, in the order of training.

    Attributes:
        epochs, steps: (k,) int64; the step is 0 where it is not known.
        values: (k,) float64, finite.
        n: (k,) int64, samples that each value rests on; 0 where that is not known.
        errors: (k,), standard errors over samples; NaN where there are none.
        n_fit: (k,) int64, fitting samples of the linear fits that a value comes from; 0 for none.
        halves: (k,), values by fits to half of these; NaN where there are none.
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    n: NDArray[np.int64]
    errors: NDArray[np.float64]
    n_fit: NDArray[np.int64]
    halves: NDArray[np.float64]

    def at(self, epoch: int | None = None, what: Literal["values", "errors"] = "values") -> float:
        """Return the value, or its error, at an epoch, by default the last; NaN for none."""
        where = slice(None) if epoch is None else self.epochs == epoch
        found = getattr(self, what)[where]
        return float(found[-1]) if len(found) else math.nan


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
        series: values by phase, layer and metric; the reference is the layer `input`. Code about
            several runs, some of which lack a metric or layer, asks here: `series.get(key)`.
        vectors: vector-valued metrics, by phase, layer and metric.
        pairs: matrices over the layers in order, by phase and metric.
        missing: why values are missing, and how often, by phase, layer and metric.
        test: the content of `test_results.json`; empty where there is none.
        layers: in the order in which they first appear, without the input.
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
    layers: tuple[str, ...] = ()
    averages_batches: bool = False
    problems: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all values, headlines and further ones, in the order of the log."""
        return tuple(dict.fromkeys(metric for _, _, metric in (*self.series, *self.vectors)))

    def with_values_of(self, added: RunLog) -> RunLog:
        """Return the log with the values of another after its own."""
        return attrs.evolve(
            self,
            series=_first(self.series, added.series),
            vectors=_first(self.vectors, added.vectors),
            pairs=_first(self.pairs, added.pairs),
            missing=_first(self.missing, added.missing),
            layers=tuple(dict.fromkeys((*self.layers, *added.layers))),
            problems=(*self.problems, *added.problems),
        )


def read_log(log: Path, test_results: Path | None = None) -> RunLog:
    """Read a log, and the test's results where they are given and there.

    What cannot be read is told in `problems` and left out, by itself: a line that is not whole, as
    a killed run may leave one at the end, or a part of a line. `NaN` and infinity, which other
    writers may log, count as missing. Of what a resumed run has logged again the later line counts.
    """
    reader = LogReader()
    try:
        for number, text in texts_of(log):
            reader.at(log, number)
            reader.add_line(text)
    except ValueError as error:
        reader.at(log)
        reader.tell(f"the rest is left out, {error}")
    test: dict[str, Any] = {}
    if test_results is not None and test_results.exists():
        reader.at(test_results)
        try:
            test = reader.add_test(read_text(test_results))
        except (OSError, ValueError) as error:
            reader.tell(f"left out, it cannot be read ({error})")
    return reader.finished(test)


def as_number(value: Any) -> float:
    """Return a number of a JSON file, NaN for null and for what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def as_count(value: Any) -> int | None:
    """Return a whole number of a JSON file, none for what is none."""
    number = as_number(value)
    return int(number) if abs(number) < _LARGEST else None


_LARGEST = 2**53
"""From here on floats skip whole numbers."""


class LogReader:
    """Columns that grow line by line; values stand at their time, where a later one replaces it."""

    def __init__(self) -> None:
        self._path, self._line = Path(), 0
        self._told: defaultdict[tuple[Path, str], list[int]] = defaultdict(list)
        self._training: dict[Time, _Point] = {}
        self._validation: dict[Time, _Point] = {}
        self._values: defaultdict[Key, dict[Time, _Point]] = defaultdict(dict)
        self._vectors: defaultdict[Key, dict[Time, Vector]] = defaultdict(dict)
        self._pairs: defaultdict[tuple[str, str], dict[Time, Vector]] = defaultdict(dict)
        self._missing: defaultdict[Key, Counter[str]] = defaultdict(Counter)
        self._layers: dict[str, None] = {}
        self._step = 0
        self._steps: dict[tuple[int, int], int] = {}

    def at(self, path: Path, line: int = 0) -> None:
        """Say where the next values are from."""
        self._path, self._line = path, line

    def tell(self, problem: str) -> None:
        """Note what is wrong with the values that are from here."""
        self._told[self._path, problem].append(self._line)

    def add_line(self, text: str) -> None:
        """Take in a line of a training step or of an end of an epoch."""
        line = self.parsed(text)
        if line is None:
            return
        phase, epoch, acc = (
            line.get("phase"),
            as_count(line.get("epoch")),
            as_number(line.get("acc", line.get("acc_last"))),  # as older scripts call it
        )
        if phase not in ("train", "val"):
            self.tell(f"left out, its phase is {_shown(phase)}; expected train or val")
        elif epoch is None:
            found = _shown(line.get("epoch"))
            self.tell(f"left out, its epoch is {found}; expected a whole number")
        elif phase == "train":
            self._step = self._step_of(line, epoch)
            time = (epoch, self._step, 0)
            self._training[time] = (epoch, self._step, as_number(line.get("loss")), acc)
            self.add(line, "batch", "", time)
        else:
            time = (epoch, self._step, as_count(line.get("iter")) or 0)
            self._validation[time] = (epoch, self._step, as_number(line.get("val_loss")), acc)
            self.add(line, "val", "", time)
            self.add(line, "train", "train_", time)

    def add_test(self, text: str) -> dict[str, Any]:
        """Take in the content of `test_results.json`, and return it."""
        results = self.parsed(text) or {}
        before = results.get("untrained")
        if isinstance(before, dict):
            self.add(before, "test", "", (0, 0, 0))
        self.add(results, "test", "", (as_count(results.get("epoch")) or 0, 0, 0))
        return results

    def parsed(self, text: str) -> dict[str, Any] | None:
        """Return the object that a text holds, or none where it is none, which is told."""
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            self.tell("left out, it is not whole JSON")
            return None
        if not isinstance(content, dict):
            self.tell(f"left out, it is {_shown(content)}; expected an object")
            return None
        return content

    def _step_of(self, line: Mapping[str, Any], epoch: int) -> int:
        """Return the step of a training line; lines without one are counted."""
        step, iteration = as_count(line.get("step")), as_count(line.get("iter"))
        if step is not None:
            return step
        if iteration is None:
            return self._step + 1
        return self._steps.setdefault((epoch, iteration), self._step + 1)

    def add(self, line: Mapping[str, Any], phase: str, prefix: str, time: Time) -> None:
        """Take in the values of a line whose keys begin with a prefix."""
        epoch, step, _ = time
        whole = as_count(line.get(f"{prefix}n")) or 0
        counts = {
            (layer, metric): whole if (n := as_count(fewer)) is None else n
            for layer, metric, fewer in self._entries(line, f"{prefix}counts")
        }
        errors, halves = (
            {(layer, metric): as_number(value) for layer, metric, value in entries}
            for entries in (
                self._entries(line, f"{prefix}errors"),
                self._halves(line.get(f"{prefix}fit"), f"{prefix}fit"),
            )
        )
        fit = line.get(f"{prefix}fit")
        n_fit = (as_count(fit.get("n")) if isinstance(fit, dict) else None) or 0
        reference = self._items(line.get(f"{prefix}reference"), f"{prefix}reference")
        of_input = [(INPUT, metric, value) for metric, value in reference]
        for layer, metric, value in [*self._entries(line, f"{prefix}metrics"), *of_input]:
            self._layers[layer] = None
            number = as_number(value)
            if math.isfinite(number):
                key = layer, metric
                self._values[phase, layer, metric][time] = (
                    epoch,
                    step,
                    number,
                    counts.get(key, whole),
                    errors.get(key, math.nan),
                    n_fit if key in halves else 0,
                    halves.get(key, math.nan),
                )
            else:
                self._missing[phase, layer, metric][f"{_shown(value)} in the log"] += 1
        for layer, metric, vector in self._entries(line, f"{prefix}vectors"):
            numbers = self._array(vector, 1, f"{prefix}vectors.{layer}.{metric}")
            self._layers[layer] = None
            if numbers is not None:
                self._vectors[phase, layer, metric][time] = Vector(epoch, step, numbers)
        for metric, matrix in self._items(line.get(f"{prefix}pairs"), f"{prefix}pairs"):
            numbers = self._array(matrix, 2, f"{prefix}pairs.{metric}")
            if numbers is not None:
                self._pairs[phase, metric][time] = Vector(epoch, step, numbers)
        for layer, metric, reason in self._entries(line, f"{prefix}missing"):
            self._missing[phase, layer, metric][str(reason)] += 1

    def _entries(self, line: Mapping[str, Any], key: str) -> Iterator[tuple[str, str, Any]]:
        """Yield layer, metric and value of a part {layer: {metric: value}}."""
        for layer, values in self._items(line.get(key), key):
            for metric, value in self._items(values, f"{key}.{layer}"):
                yield layer, metric, value

    def _halves(self, part: Any, name: str) -> Iterator[tuple[str, str, Any]]:
        """Yield layer, metric and value by half of the fitting samples."""
        for key, values in self._items(part, name):
            if key == "half":
                yield from self._entries({"half": values}, "half")

    def _items(self, part: Any, name: str) -> Iterable[tuple[str, Any]]:
        if part is not None and not isinstance(part, dict):
            self.tell(f"{name} is left out, it is {_shown(part)}; expected an object")
        return part.items() if isinstance(part, dict) else ()

    def _array(self, part: Any, dimensions: int, name: str) -> NDArray[np.float64] | None:
        """Return a vector, or a matrix as wide as high, NaN where a number is not finite."""
        try:
            numbers = np.array(part, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = np.zeros(0)
        if numbers.ndim != dimensions or not numbers.size or len(set(numbers.shape)) > 1:
            what = "a list of numbers" if dimensions == 1 else "as many rows as columns of numbers"
            self.tell(f"{name} is left out; expected {what}")
            return None
        return np.where(np.isfinite(numbers), numbers, np.nan)

    def finished(self, test: Mapping[str, Any]) -> RunLog:
        """Return all that was taken in."""
        series = {key: _series(points.values()) for key, points in self._values.items()}
        averages_batches = not any(phase == "train" for phase, _, _ in series)
        if averages_batches:
            series |= _means_over_epochs(series)
        return RunLog(
            training=_curve(self._training.values()),
            validation=_curve(self._validation.values()),
            series=series,
            vectors={key: tuple(vectors.values()) for key, vectors in self._vectors.items()},
            pairs={key: tuple(matrices.values()) for key, matrices in self._pairs.items()},
            missing={key: dict(reasons) for key, reasons in self._missing.items()},
            test=test,
            layers=tuple(layer for layer in self._layers if layer != INPUT),
            averages_batches=averages_batches,
            problems=tuple(_sentence(*told, lines) for told, lines in self._told.items()),
        )


def _first(own: Mapping[K, V], more: Mapping[K, V]) -> dict[K, V]:
    """Return own entries, and after them those of others that are not among them."""
    return {**own, **{key: value for key, value in more.items() if key not in own}}


def _sentence(path: Path, problem: str, lines: Sequence[int]) -> str:
    line = f", line {lines[0]}" if lines[0] else ""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"'{path}'{line}{more}: {problem}"


def _shown(value: Any) -> str:
    """Return a value in JSON's words, or its kind, so that all that are wrong alike read alike."""
    if value is None or value != value or value in (math.inf, -math.inf):
        return json.dumps(value)
    kinds: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}
    return kinds.get(type(value), "a number")


def _curve(points: Iterable[_Point]) -> Curve:
    epochs, steps, loss, acc = _columns(points, 4)
    return Curve(_whole(epochs), _whole(steps), loss, acc)


def _series(points: Iterable[_Point]) -> Series:
    epochs, steps, values, n, errors, n_fit, halves = _columns(points, 7)
    return Series(_whole(epochs), _whole(steps), values, _whole(n), errors, _whole(n_fit), halves)


def _whole(column: NDArray[np.float64]) -> NDArray[np.int64]:
    return column.astype(np.int64)


def _columns(points: Iterable[_Point], count: int) -> tuple[NDArray[np.float64], ...]:
    table = np.array(list(points), dtype=np.float64).reshape(-1, count)
    return tuple(table.T)


def _means_over_epochs(series: Mapping[Key, Series]) -> dict[Key, Series]:
    """Return means over the batches of each epoch, as `train` series; n stays that of a batch."""
    means = {}
    for (phase, layer, metric), batches in series.items():
        if phase == "batch":
            epochs, place = np.unique(batches.epochs, return_inverse=True)
            values = np.bincount(place, batches.values) / np.bincount(place)
            last = np.zeros(len(epochs), dtype=np.int64)
            last[place] = np.arange(len(place))  # of several the last is kept
            none = np.full(len(epochs), np.nan)
            means["train", layer, metric] = Series(
                epochs, batches.steps[last], values, batches.n[last], none, 0 * epochs, none
            )
    return means
