"""A run read back: what a run directory holds, for plots, reports and notebooks, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core.config.load import read_yaml
from cmp_core.errors import DataError, UsageError, unknown
from cmp_core.events.rows import INPUT
from cmp_core.runs.arrays import load_arrays, load_counts
from cmp_core.runs.directory import (
    CONFUSION,
    ENVIRONMENT,
    LOG,
    METRICS,
    PARAMS,
    STATUS,
    TEST_INFLUENCES,
    TEST_PREDICTIONS,
    TEST_RESULTS,
    open_run,
)
from cmp_core.runs.json_file import read_optional, read_text
from cmp_core.runs.log import PHASES, RunLog, Series, Vector, as_count, read_log
from cmp_core.runs.metric_info import MetricInfo, load_metric_info, owner_of
from cmp_core.runs.origin import is_foreign
from cmp_core.runs.recomputed import RecomputedValues, read_recomputed
from cmp_core.runs.tables import html_of, rows_of
from cmp_core.runs.test_accuracies import layer_accuracies

if TYPE_CHECKING:
    from pandas import DataFrame

HEAD = "head"
"""The name of the output in runs that do not tell it: earlier versions wrote none."""

OUTPUT = "output"
"""The layer of the accuracy of a network of which no layer is known."""

_MOST_LAYERS = 10_000
"""Of a configuration, as `Config` has it; another program's may say anything."""

_WITH_HEAD = "mlp"
"""The model that answers by a head, of which logs of other programs have no values."""


@attrs.frozen(eq=False, repr=False)
class RunRecord:
    """What a run has left.

    Attributes:
        directory: of the run.
        config: the keys of `params.yaml`, unchecked: other programs may have written it.
        log: its values.
        environment: the content of `environment.json`, empty where there is none.
        status: the content of `status.json`, empty where there is none.
        metric_info: what is known of the logged metrics, by label; empty where the run has stored
            nothing, see `with_installed_metric_info`.
        problems: what could not be read, in sentences.
        recomputed: what `cmp recompute --save` has added, whose values `log` has as well; or none.
        foreign: whether another program has logged it, see `is_foreign`.
    """

    directory: Path
    config: Mapping[str, Any]
    log: RunLog
    environment: Mapping[str, Any]
    status: Mapping[str, Any]
    metric_info: Mapping[str, MetricInfo]
    problems: tuple[str, ...] = ()
    recomputed: RecomputedValues | None = None
    foreign: bool = False

    def __repr__(self) -> str:
        return f"<Run {self.name}: {self.model} on {self.dataset}, seed {self.seed}>"

    # What was run

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.directory.name

    @property
    def snapshot(self) -> str | None:
        """The snapshot file that it was made of, and whose folder is none that lasts; or none."""
        told = self.environment.get("snapshot")
        return told if isinstance(told, str) else None

    @property
    def model(self) -> str:
        """The configuration's model, `?` where it names none."""
        return str(self.config.get("model", "?"))

    @property
    def dataset(self) -> str:
        """The configuration's dataset, `?` where it names none."""
        return str(self.config.get("dataset", "?"))

    @property
    def seed(self) -> Any:
        """The configuration's seed, or none."""
        return self.config.get("seed")

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers in order of depth, the head last.

        Where the run has not stored the order, it is that in which the log first names them.
        """
        known = {layer for _, layer, _ in (*self.log.series, *self.log.vectors)}
        logged = [layer for layer in self.log.layers if layer in known]
        told = _texts(self.environment.get("layers"))
        return tuple(dict.fromkeys((*told, *_head_last(logged))))

    @property
    def output(self) -> str | None:
        """The layer that is the scores of the classes: a step to it is not one of depth alone."""
        told = self.environment.get("output", HEAD)
        return told if told in self.layers else None

    @property
    def answering_layer(self) -> str:
        """The layer whose accuracy is that of the network: the output, or the last layer.

        `output` where there is none that is known.
        """
        if self.output is not None:
            return self.output
        if self.foreign and self.model == _WITH_HEAD:
            return HEAD
        return [OUTPUT, *self._layers_to_test][-1]

    @property
    def hidden_layers(self) -> tuple[str, ...]:
        """The layers without the output."""
        return tuple(layer for layer in self.layers if layer != self.output)

    @property
    def _layers_to_test(self) -> tuple[str, ...]:
        """The layers without the output; of a log without metrics those of the configuration."""
        count = as_count(self.config.get("layers")) or 0
        usual = (f"layer_{i}" for i in range(min(count, _MOST_LAYERS)))
        return self.hidden_layers or tuple(usual)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; numbers where only their number is known."""
        names = _texts(self.environment.get("class_names"))
        if names:
            return names
        count = 0 if self.confusion is None else len(self.confusion)
        return tuple(map(str, range(count)))

    # Values

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The names of all logged values, headlines and further ones, in the order of the log."""
        return self.log.metrics

    @cached_property
    def headlines(self) -> tuple[str, ...]:
        """The metrics with numbers, without the further values that some have."""
        return self._headlines(metric for _, _, metric in self.log.series)

    @cached_property
    def pair_headlines(self) -> tuple[str, ...]:
        """The metrics with matrices over all pairs of layers, without their further values."""
        return self._headlines(metric for _, metric in self.log.pairs)

    def _headlines(self, metrics: Iterable[str]) -> tuple[str, ...]:
        return tuple(
            name
            for name in dict.fromkeys(metrics)
            if name in self.metric_info or self.metric_info_of(name) is None
        )

    def metric_info_of(self, metric: str) -> MetricInfo | None:
        """Return what is known of a value: of its metric, for one of its further values."""
        label = owner_of(metric, self.metric_info)
        return None if label is None else self.metric_info[label]

    def has(self, metric: str) -> bool:
        """Return whether there is any value of a metric: at layers, or of pairs of them."""
        return metric in self.metrics or any(name == metric for _, name in self.log.pairs)

    def is_foreign(self, metric: str) -> bool:
        """Return whether another program has logged a value, and so decides what it means."""
        return self.foreign and not self.is_recomputed(metric)

    def is_recomputed(self, metric: str) -> bool:
        """Return whether a value was measured after the run, from its snapshots."""
        return self._recomputed_label(metric) is not None

    def _recomputed_label(self, metric: str) -> str | None:
        label = owner_of(metric, self.metric_info)
        return label if self.recomputed and label in self.recomputed.metric_info else None

    def unit_of(self, metric: str) -> str:
        """Return the unit of a headline value; empty where there is none or it is not known."""
        return self.metric_info[metric].unit if metric in self.metric_info else ""

    def series(self, phase: str, layer: str, metric: str) -> Series:
        """Return the values of a metric at a layer over time.

        Raises:
            UsageError: the phase, layer or metric is unknown, or there is no such value.
        """
        self._check(phase, [layer], metric)
        found = self.log.series.get((phase, layer, metric))
        if found is None:
            reasons = self.log.missing.get((phase, layer, metric), {})
            why = f": {', '.join(reasons)}" if reasons else ""
            raise UsageError(f"run {self.name} has no {phase} value of {metric} at {layer}{why}")
        return found

    def value(
        self,
        phase: str,
        layer: str,
        metric: str,
        epoch: int | None = None,
        what: Literal["values", "errors"] = "values",
    ) -> float:
        """Return one value at an epoch (the last one if none is given), NaN where there is none.

        With `what="errors"` its standard error over samples.

        Raises:
            UsageError: the phase, layer or metric is unknown.
        """
        return float(self.profile(phase, metric, epoch, [layer], what)[0])

    def profile(
        self,
        phase: str,
        metric: str,
        epoch: int | None = None,
        layers: Sequence[str] | None = None,
        what: Literal["values", "errors"] = "values",
    ) -> NDArray[np.float64]:
        """Return the values of all layers at an epoch: (L,) with NaN where there are none.

        Raises:
            UsageError: the phase, the metric or a layer is unknown.
        """
        layers = self.layers if layers is None else layers
        self._check(phase, layers, metric)
        found = [self.log.series.get((phase, layer, metric)) for layer in layers]
        return np.array([math.nan if one is None else one.at(epoch, what) for one in found])

    def grid(self, phase: str, metric: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the epochs (E,) of a metric and its values (L, E), NaN where there are none.

        Raises:
            UsageError: the phase or metric is unknown.
        """
        self._check(phase, [], metric)
        series = [self.log.series.get((phase, layer, metric)) for layer in self.layers]
        times = [one.epochs for one in series if one is not None]
        epochs = np.unique(np.concatenate(times)) if times else np.zeros(0, dtype=np.int64)
        values = np.full((len(self.layers), len(epochs)), np.nan)
        for row, one in zip(values, series, strict=True):
            if one is not None:
                row[np.searchsorted(epochs, one.epochs)] = one.values
        return epochs, values

    def vectors(self, phase: str, layer: str, metric: str) -> tuple[Vector, ...]:
        """Return a vector-valued metric at a layer over time.

        Raises:
            UsageError: the phase, layer or metric is unknown.
        """
        self._check(phase, [layer], metric)
        return self.log.vectors.get((phase, layer, metric), ())

    def pairs(self, phase: str, metric: str) -> tuple[Vector, ...]:
        """Return the matrices (L, L) of a metric of pairs over time, in the order of `layers`.

        Raises:
            UsageError: the phase or metric is unknown.
        """
        self._check(phase, [], metric)
        return self.log.pairs.get((phase, metric), ())

    def _check(self, phase: str, layers: Iterable[str], metric: str) -> None:
        """Raise where the run knows nothing of a name, whether or not it has a value."""
        missing = (name.partition(":")[0] for _, _, name in self.log.missing)
        metrics = {*self.metrics, *self.metric_info, *missing}
        metrics |= {name for _, name in self.log.pairs}
        asked = [("phase", phase, PHASES), ("metric", metric, metrics)]
        known = {INPUT, *self.layers, *self.log.layers}
        for kind, name, names in (*asked, *(("layer", layer, known) for layer in layers)):
            if name not in names:
                raise UsageError(f"run {self.name}: {unknown(kind, name, names)}")

    @cached_property
    def tested_epoch(self) -> int:
        """The epoch whose weights were tested: the best by validation accuracy."""
        tested = as_count(self.log.test.get("epoch"))
        if tested is not None:
            return tested
        acc = self.log.validation.acc
        trained = self.log.validation.epochs > 0
        if not np.isfinite(acc[trained]).any():
            epochs = self.log.validation.epochs
            return int(epochs[-1]) if len(epochs) else 0
        return int(self.log.validation.epochs[np.nanargmax(np.where(trained, acc, np.nan))])

    @cached_property
    def test_accuracies(self) -> dict[str, float]:
        """The test accuracy of each layer in order of depth; of the output where that is all."""
        known = layer_accuracies(self.log.test, self._layers_to_test, self.answering_layer)
        order = [name for name in self.layers if name in known]
        order += _head_last(layer for layer in known if layer not in order)
        return {layer: known[layer] for layer in order}

    # Files

    @cached_property
    def predictions(self) -> dict[str, NDArray[Any]] | None:
        """`sample_ids`, `labels` and the predicted class of each layer on the test split, or none.

        Raises:
            DataError: the file cannot be read, or its arrays are of different lengths.
        """
        arrays = load_arrays(self.directory / TEST_PREDICTIONS)
        if not arrays:
            return None
        names = [name for name in ("labels", "sample_ids", *self.layers) if name in arrays]
        shapes = {arrays[name].shape for name in names}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            path = self.directory / TEST_PREDICTIONS
            found = ", ".join(f"{name} {arrays[name].shape}" for name in names)
            raise DataError(f"'{path}': expected arrays (n,) of the same n, got {found}")
        return arrays

    @cached_property
    def _influences(self) -> dict[str, NDArray[Any]]:
        return load_arrays(self.directory / TEST_INFLUENCES)

    def influence_ids(self, metric: str) -> NDArray[np.int64] | None:
        """Return the ids of the test samples that influences on a metric are of, or none."""
        label = self._recomputed_label(metric)
        if self.recomputed is not None and label is not None:
            return self.recomputed.sample_ids.get(label)
        return self._influences.get("sample_ids")

    def influence(
        self, layer: str, metric: str, weights: Literal["tested", "untrained"] = "tested"
    ) -> NDArray[np.float64] | None:
        """Return how much each test sample (n,), or each of 20 groups, moves a value, or none.

        There is none either where what is stored cannot be that, such as a single number.

        Raises:
            UsageError: the layer or metric is unknown.
            DataError: the file cannot be read.
        """
        self._check("test", [layer], metric)
        key = f"{'' if weights == 'tested' else 'untrained/'}{layer}/{metric}"
        found: NDArray[Any] | None
        if self.recomputed is not None and self.is_recomputed(metric):
            found = self.recomputed.influences.get(key)
        else:
            found = self._influences.get(key)
        if found is None or found.ndim != 1 or found.dtype.kind != "f" or len(found) < 2:
            return None
        return found.astype(np.float64) if np.isfinite(found).all() else None

    @cached_property
    def confusion(self) -> NDArray[np.int64] | None:
        """Counts (C, C) of the output layer on the test split, a row per true class, or none.

        Raises:
            DataError: the file cannot be read.
        """
        return load_counts(self.directory / CONFUSION)

    # For notebooks

    @cached_property
    def rows(self) -> DataFrame:
        """Every number of the log and the test, a row each; vectors and matrices are not in it.

        The columns: `phase`, `epoch`, `step`, `layer`, `metric`, `value`; `error`, the standard
        error, NaN where there is none; `n`, 0 where it is not known; `n_fit`, samples that linear
        fits rest on, 0 for none.
        """
        return rows_of(self.log)

    def _repr_html_(self) -> str:
        return html_of(self)


def load_run(path: str | Path) -> RunRecord:
    """Return what a run directory holds.

    It may be of an older version, or of another program that writes `params.yaml` and `log.jsonl`
    in the form of `docs/runs.md`; what is not there is empty.

    Raises:
        UsageError: it is not a run directory, or holds no log.
    """
    directory = open_run(path)
    log_path = directory / LOG
    if not log_path.is_file():
        raise UsageError(f"run '{path}' has no {LOG}: there is nothing to show yet")
    config = read_yaml(directory / PARAMS)
    log = read_log(log_path, directory / TEST_RESULTS)
    others: list[str] = []
    environment = read_optional(directory / ENVIRONMENT, others)
    status = read_optional(directory / STATUS, others)
    info = _metric_info(directory / METRICS, others)
    recomputed = read_recomputed(directory, {*info, *log.metrics})
    log = log.with_values_of(recomputed.log)
    problems = list(log.problems)
    if not (len(log.training.epochs) or len(log.validation.epochs) or log.test):
        problems.append(f"'{log_path}' holds no training step and no epoch that can be read")
    problems += others
    info |= recomputed.metric_info
    return RunRecord(
        directory,
        config,
        log,
        environment,
        status,
        info,
        tuple(problems),
        recomputed,
        is_foreign(directory, environment),
    )


def _texts(content: Any) -> tuple[str, ...]:
    """Return a JSON file's list of names, each once; what is no list holds none."""
    return tuple(dict.fromkeys(map(str, content))) if isinstance(content, list) else ()


def _metric_info(path: Path, problems: list[str]) -> dict[str, MetricInfo]:
    """Return what a run has stored about its metrics; empty where that is nothing."""
    if not path.exists():
        return {}
    try:
        return load_metric_info(read_text(path))
    except (OSError, ValueError) as error:
        problems.append(f"'{path}' is left out: {error}")
        return {}


def _head_last(layers: Iterable[str]) -> list[str]:
    """Return layers in the order in which they first appear, the head after all others."""
    return sorted(dict.fromkeys(layers), key=HEAD.__eq__)
