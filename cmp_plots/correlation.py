"""Which metrics rise and fall together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, RunRecord, plot
from cmp_plots._cells import colour_bar, draw_cells, in_decimals
from cmp_plots._style import context, measured, name_ticks, panel_title, panels, require, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_MOST_WITH_NUMBERS = 18
_FEWEST = 5
"""A correlation of fewer points than this is left out."""


@plot("correlation", file="correlation_matrix_{phase}")
def correlation(view: PlotView) -> Figure:
    """Spearman's rank correlation of all headline metrics over layers and epochs.

    A point is a layer at an epoch of a run; a coefficient is of those that have both metrics, and
    above the matrix stands how many these are. Points of one layer follow each other in time, so
    the coefficients describe this data; they are no tests. Each experiment has its own matrix: what
    differs between two of them would look like a correlation.
    """
    metrics = measured(view, view.phase)
    require(len(metrics) > 1, f"fewer than two metrics in {view.phase}")
    points = {
        group.label: np.concatenate([_points(run, view.phase, metrics) for run in group.runs], 1)
        for group in view.groups
    }
    matrices = {label: _matrix(own) for label, own in points.items()}
    known = {label: matrix for label, matrix in matrices.items() if np.isfinite(matrix).any()}
    require(known, f"no metric has {_FEWEST} values in {view.phase} that differ")
    side = 0.4 * len(metrics) + 1.8
    width = max(5.0, side + 1.8)
    figure, grid = panels(len(known), columns=2, size=(width, max(3.2, side)))
    for axes, (label, matrix) in zip(grid, known.items(), strict=True):
        texts = in_decimals(matrix, 2) if len(metrics) <= _MOST_WITH_NUMBERS else None
        image = draw_cells(axes, matrix, texts, cmap="RdBu_r", vmin=-1, vmax=1)
        name_ticks(axes, metrics)
        name_ticks(axes, metrics, vertical=True)
        colour_bar(image, axes, "Spearman's ρ")
        name = f"{label}: " if len(view.groups) > 1 else ""
        panel_title(axes, f"{name}{_told(points[label])}", width - 2.8)
    title(figure, "Correlation of metrics over layers and epochs", context(view, view.phase))
    return figure


def _told(points: Floats) -> str:
    """Return on how many points the coefficients rest, in words."""
    known = np.isfinite(points).astype(int)
    counts = known @ known.T
    used = counts[counts >= _FEWEST]
    low, high = int(used.min()), int(used.max())
    return f"{high:,} points" if low == high else f"{low:,} to {high:,} points"


def _matrix(points: Floats) -> Floats:
    """Return the correlations (M, M), NaN where there are too few values or they are all one."""
    from scipy import stats

    matrix = np.full((len(points), len(points)), np.nan)
    for i, j in zip(*np.tril_indices(len(points)), strict=True):
        x, y = points[[i, j]][:, np.isfinite(points[[i, j]]).all(axis=0)]
        if len(x) >= _FEWEST and np.ptp(x) > 0 and np.ptp(y) > 0:
            ranks = stats.rankdata([x, y], axis=1)
            matrix[i, j] = matrix[j, i] = np.corrcoef(ranks)[0, 1]
    return matrix


def _points(run: RunRecord, phase: str, metrics: list[str]) -> Floats:
    """Return the metrics at all layers and epochs (M, points), NaN where missing."""
    grids = {metric: run.grid(phase, metric) for metric in metrics if metric in run.metrics}
    times = np.unique(np.concatenate([np.zeros(0), *(epochs for epochs, _ in grids.values())]))
    points = np.full((len(metrics), len(run.layers), len(times)), np.nan)
    for metric, (epochs, grid) in grids.items():
        points[metrics.index(metric)][:, np.searchsorted(times, epochs)] = grid
    return points.reshape(len(metrics), -1)
