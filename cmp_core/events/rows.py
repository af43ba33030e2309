"""Rows: the values that metrics yield, and the form in which they stand in `log.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pandas import DataFrame

INPUT = "input"
"""Name of the reference layer: the network's input, measured like a layer."""

Value = float | tuple[float, ...]


@attrs.frozen
class FitInfo:
    """What the linear fits rest on that a value comes from.

    Attributes:
        n: fitting samples; of several folds, the fewest of a fit.
        source: `training` for samples that are not scored, `cross-validation` for the scored ones
            in five folds, each scored by the fit to the others.
        half: the value by fits to half of the samples, or none where there is no such value.
    """

    n: int
    source: str
    half: Value | None = None


@attrs.frozen
class Row:
    """One value of one metric at one layer, or the reason why there is none.

    Attributes:
        layer: name of the layer; `input` for the reference row.
        metric: label of the metric, with the name of the sub-value appended.
        value: a number, a vector, or none.
        reason: why the value is missing; none where there is a value.
        n: samples that the value rests on.
        other: the second layer that the value rests on, or none.
        pair: whether the value is an entry of the metric's matrix over all pairs of layers.
        fit: what the linear fits rest on that the value comes from; none where there are none.
        error: standard error of the value over samples, or none where it was not asked for.
        influence: what the error comes from: how much each sample (n,), or each of 20 groups,
            moves the value; their mean is about 0.
    """

    layer: str
    metric: str
    value: Value | None
    n: int
    reason: str | None = None
    other: str | None = None
    pair: bool = False
    fit: FitInfo | None = None
    error: float | None = None
    influence: NDArray[np.float64] | None = attrs.field(default=None, eq=False, repr=False)


def finite_or_none(value: float) -> float | None:
    """Return the value as strict JSON can hold it."""
    return value if math.isfinite(value) else None


def as_frame(rows: Iterable[Row]) -> DataFrame:
    """Return rows as a pandas DataFrame, without the entries of matrices over all pairs of layers.

    Its columns: `layer` and `other`, the second layer that a value rests on; `metric`; `value`, NaN
    where there is none, and then `vector`, a tuple, or `reason` says what there is; `error`, the
    standard error, NaN where there is none; `n`; `fit`, where the samples of linear fits are from,
    and `n_fit`, how many these are, 0 for none. Texts that are not there are missing values.

    >>> as_frame([Row("layer_0", "margin", None, 4, "no anchors")])[["value", "reason"]]
       value      reason
    0    NaN  no anchors
    """
    import pandas

    records = [
        {
            "layer": row.layer,
            "other": row.other,
            "metric": row.metric,
            "value": None if isinstance(row.value, tuple) else row.value,
            "vector": row.value if isinstance(row.value, tuple) else None,
            "error": row.error,
            "n": row.n,
            "reason": row.reason,
            "fit": None if row.fit is None else row.fit.source,
            "n_fit": 0 if row.fit is None else row.fit.n,
        }
        for row in rows
        if not row.pair
    ]
    columns = ["layer", "other", "metric", "value", "vector", "error", "n", "reason"]
    columns += ["fit", "n_fit"]
    numbers = {"value": "float64", "error": "float64", "n": "int64", "n_fit": "int64"}
    return pandas.DataFrame.from_records(records, columns=columns).astype(numbers)


def log_form(
    rows: Iterable[Row], layers: tuple[str, ...], n: int, prefix: str = ""
) -> dict[str, Any]:
    """Return rows as the keys of a log line.

    `n` and `metrics` {layer: {metric: number}} are always there; `vectors`, `pairs` {metric:
    matrix in the order of `layers`}, `reference` {metric: number}, `missing` {layer: {metric:
    reason}}, `counts` {layer, or pairs: {metric: samples, where they are not n}} and `fit` {source,
    n, half: {layer: {metric: number by half of the fitting samples, or null}}} only where they hold
    something. `errors` {layer: {metric: number}} has the standard errors, where there are any.

    >>> rows = [Row("layer_0", "accuracy", 0.5, n=4), Row("head", "margin", None, 4, "no anchors")]
    >>> log_form(rows, ("layer_0", "head"), n=4)["missing"]
    {'head': {'margin': 'no anchors'}}
    """
    form: dict[str, Any] = {"n": n, "metrics": {}}
    for row in rows:
        if row.value is not None and row.n != n:
            place = "pairs" if row.pair else row.layer
            form.setdefault("counts", {}).setdefault(place, {})[row.metric] = row.n
        if row.fit is not None:
            fit = form.setdefault("fit", {"source": row.fit.source, "n": row.fit.n, "half": {}})
            fit["half"].setdefault(row.layer, {})[row.metric] = row.fit.half
        if row.error is not None:
            form.setdefault("errors", {}).setdefault(row.layer, {})[row.metric] = row.error
        if row.value is None:
            name = f"{row.metric}:{row.other}" if row.pair else row.metric
            form.setdefault("missing", {}).setdefault(row.layer, {})[name] = row.reason
        elif row.pair:
            empty = [[None] * len(layers) for _ in layers]
            matrix = form.setdefault("pairs", {}).setdefault(row.metric, empty)
            matrix[layers.index(row.layer)][layers.index(str(row.other))] = row.value
        elif isinstance(row.value, tuple):
            vectors = form.setdefault("vectors", {}).setdefault(row.layer, {})
            vectors[row.metric] = list(row.value)
        elif row.layer in layers:
            form["metrics"].setdefault(row.layer, {})[row.metric] = row.value
        else:
            form.setdefault("reference", {})[row.metric] = row.value
    return {f"{prefix}{key}": value for key, value in form.items()}
