"""What a metric says of all pairs of layers, as training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._cells import colour_bar, draw_cells, in_decimals, in_digits
from cmp_plots._lines import mean_of_known, some_epochs
from cmp_plots._style import (
    bounds,
    context,
    layer_ticks,
    mean_over_runs,
    metric_label,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PANELS = 4
_MOST_WITH_NUMBERS = 6
_NARROWEST = 0.01
"""Colours span at least this much, or what all but agrees would look different."""


@attrs.frozen(eq=False)
class _Row:
    """The matrices (L, L) of an experiment by epoch, means over its runs."""

    group: ReplicateGroup
    matrices: dict[int, NDArray[np.float64]]


@plot("cka_matrix", file="cka_matrix{pairs}_{phase}", pairs="linear_cka")
def cka_matrix(view: PlotView) -> Figure:
    """CKA, or another metric of pairs, of all pairs of layers from the untrained network on.

    Linear CKA is 1 for layers that differ by a rotation and a scale, about 0 for independent ones;
    debiased values can be below 0. A row per experiment, of which it is the mean over the runs.
    Those that have the metric on one scale have one scale of colours.
    """
    found = [_Row(group, _matrices(group, view.phase, view.metric)) for group in view.groups]
    rows = {row.group.label: row for row in found if row.matrices}
    require(rows, f"no {view.metric} of pairs of layers in {view.phase}")
    most = max(len(row.group.runs[0].layers) for row in rows.values())
    side = float(np.clip(0.3 * most + 1.6, 2.8, 4.2))
    figure, grid = panels(len(rows) * _MOST_PANELS, _MOST_PANELS, (side, side))
    places = {label: grid[_MOST_PANELS * i :][:_MOST_PANELS] for i, label in enumerate(rows)}
    for part in view.run_set.on_one_scale(view.metric):
        same = [rows[group.label] for group in part if group.label in rows]
        if same:
            _draw(view, same, [places[row.group.label] for row in same], side)
    shown = [row.group for row in rows.values()]
    what = f"{view.metric} of all pairs of layers{mean_over_runs(shown)}"
    title(figure, what, context(view, view.phase))
    return figure


def _draw(view: PlotView, rows: list[_Row], places: list[list[Axes]], side: float) -> None:
    """Draw rows of matrices with one scale of colours, and its bar beside them."""
    values = np.concatenate([matrix.ravel() for row in rows for matrix in row.matrices.values()])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    _, bound = bounds(view, view.metric)
    if high > bound - _NARROWEST:  # as of a similarity, whose bound a layer has with itself
        high = bound
    low = min(low, high - _NARROWEST * max(1.0, abs(high)))
    used = []
    for row, axes_of_row in zip(rows, places, strict=True):
        for axes in axes_of_row[len(row.matrices) :]:
            axes.remove()
        for axes, (epoch, matrix) in zip(axes_of_row, row.matrices.items(), strict=False):
            layers = row.group.runs[0].layers
            texts = _texts(matrix, bound) if len(layers) <= _MOST_WITH_NUMBERS else None
            image = draw_cells(axes, matrix, texts, vmin=low, vmax=high)
            layer_ticks(axes, layers)
            layer_ticks(axes, layers, vertical=True)
            told = [row.group.label] if len(view.groups) > 1 else []
            when = "untrained" if epoch == 0 else f"epoch {epoch}"
            panel_title(axes, ", ".join([*told, when]), side - 1.0)
            used.append(axes)
    colour_bar(image, used, metric_label(view, view.metric, width=side * len(rows) - 1.0))


def _texts(matrix: NDArray[np.float64], bound: float) -> NDArray[np.str_]:
    return in_decimals(matrix, 2) if bound == 1 else in_digits(matrix)


def _matrices(group: ReplicateGroup, phase: str, metric: str) -> dict[int, NDArray[np.float64]]:
    """Return the mean over runs (L, L) at some epochs, the first and the last among them."""
    count = len(group.runs[0].layers)
    found: dict[int, list[NDArray[np.float64]]] = {}
    for run in group.runs:
        for entry in run.log.pairs.get((phase, metric), ()):
            if entry.value.shape == (count, count) and np.isfinite(entry.value).any():
                found.setdefault(entry.epoch, []).append(entry.value)
    return {epoch: mean_of_known(found[epoch]) for epoch in some_epochs(found, _MOST_PANELS)}
