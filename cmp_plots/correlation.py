"""Which metrics rise and fall together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import context, number, require, single, title, write_in_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 18
_FEWEST = 5
"""A correlation of fewer points than this is left out."""


@plot("correlation", file="correlation_matrix_{phase}")
def correlation(view: PlotView) -> Figure:
    """Spearman's rank correlation of all headline metrics over layers and epochs.

    A point is a layer at an epoch of a run. Points of one layer follow each other in time, so the
    coefficients describe this data; they are no tests.
    """
    from scipy import stats

    points = _points(view)
    metrics = [metric for metric, values in points.items() if np.isfinite(values).any()]
    require(len(metrics) > 1, f"fewer than two metrics in {view.phase}")
    matrix = np.full((len(metrics), len(metrics)), np.nan)
    for i, first in enumerate(metrics):
        for j, second in enumerate(metrics):
            both = np.isfinite(points[first]) & np.isfinite(points[second])
            x, y = points[first][both], points[second][both]
            if len(x) >= _FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0:
                matrix[i, j] = stats.spearmanr(x, y).statistic
    require(bool(np.isfinite(matrix).any()), f"fewer than {_FEWEST} values of each metric")
    side = max(5.0, 0.42 * len(metrics) + 2.4)
    figure, axes = single(side + 1, side)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.grid(visible=False)
    axes.set_xticks(range(len(metrics)), metrics, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(metrics)), metrics)
    if len(metrics) <= _MOST_WITH_NUMBERS:
        for (row, column), value in np.ndenumerate(matrix):
            if np.isfinite(value):
                text = number(round(float(value), 2))
                write_in_cell(axes, row, column, text, image.cmap(image.norm(value)))
    figure.colorbar(image, ax=axes, label="Spearman's ρ", fraction=0.046)
    title(figure, "Correlation of metrics over layers and epochs", context(view, view.phase))
    return figure


def _points(view: PlotView) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Return each metric's values at all layers and epochs of all runs, NaN where missing."""
    grids: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {}
    for run in view.runs:
        times = np.unique(
            [e for (p, _, _), s in run.log.series.items() if p == view.phase for e in s.epochs]
        )
        for metric in view.run_set.headlines:
            epochs, values = run.grid(view.phase, metric)
            full = np.full((len(run.layers), len(times)), np.nan)
            full[:, np.searchsorted(times, epochs)] = values
            grids.setdefault(metric, []).append(full.ravel())
    return {metric: np.concatenate(parts) for metric, parts in grids.items()}


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(correlation)
