"""The numbers of a run as tables, for pandas and for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core.runs.log import RunLog
from cmp_core.runs.notebook import html_table

if TYPE_CHECKING:
    from pandas import DataFrame

    from cmp_core.runs.record import RunRecord


def rows_of(log: RunLog) -> DataFrame:
    """Return every number of a log, see `RunRecord.rows`."""
    import pandas

    columns = ["phase", "epoch", "step", "layer", "metric", "value", "error", "n", "n_fit"]
    numbers = {"value": "float64", "error": "float64"}
    numbers |= dict.fromkeys(("epoch", "step", "n", "n_fit"), "int64")
    rows = [
        (phase, epoch, step, layer, metric, value, error, n, n_fit)
        for (phase, layer, metric), own in log.series.items()
        for epoch, step, value, error, n, n_fit in zip(
            own.epochs, own.steps, own.values, own.errors, own.n, own.n_fit, strict=True
        )
    ]
    return pandas.DataFrame.from_records(rows, columns=columns).astype(numbers)


def html_of(run: RunRecord) -> str:
    """Return a heading and the metrics by layer of the test, or without one of the last epoch."""
    epochs = run.log.validation.epochs
    if run.log.test.get("metrics"):
        phase, what = "test", f"test of the weights of epoch {run.tested_epoch}"
    else:
        phase, what = "val", f"validation, epoch {epochs.max() if len(epochs) else 0}"
    values = {metric: run.profile(phase, metric) for metric in run.headlines}
    found = {metric: own for metric, own in values.items() if np.isfinite(own).any()}
    columns = [run.layers, *([_written(one) for one in own] for own in found.values())]
    rows = zip(*columns, strict=True) if found else ()
    heading = f"{run.name}: {run.model} on {run.dataset}, seed {run.seed}"
    shown = f"{heading}; {what}" if found else heading
    return html_table(shown, ["layer", *found], list(rows), run.problems)


def _written(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "–"
