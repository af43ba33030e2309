"""Similarity of all pairs of layers, as training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._cells import colour_bar, draw_cells, in_digits
from cmp_plots._lines import mean_of_known, some_epochs
from cmp_plots._style import context, layer_ticks, panel_title, panels, require, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 4
_MOST_WITH_NUMBERS = 6


@plot("cka_matrix", file="cka_matrix_{phase}")
def cka_matrix(view: PlotView) -> Figure:
    """Linear CKA of all pairs of layers, from the untrained network to the last epoch.

    1 for layers that differ by a rotation and a scale, about 0 for independent ones. Debiased
    values can be below 0. A row per experiment, of which it is the mean over the runs, and per
    metric of pairs, if there are others. All have one scale of colours.
    """
    rows = []
    for group in view.groups:
        names = dict.fromkeys(m for run in group.runs for p, m in run.log.pairs if p == view.phase)
        for metric in names:
            matrices = _matrices(group, view.phase, metric)
            if matrices:
                rows.append((group, metric, matrices))
    require(rows, f"no matrices of pairs of layers in {view.phase}")
    most = max(len(group.runs[0].layers) for group, _, _ in rows)
    side = float(np.clip(0.3 * most + 1.6, 2.8, 4.2))
    figure, grid = panels(len(rows) * _MOST_PANELS, _MOST_PANELS, (side, side))
    low = min(np.nanmin(matrix) for _, _, matrices in rows for matrix in matrices.values())
    used = []
    for place, (group, metric, matrices) in enumerate(rows):
        row = grid[place * _MOST_PANELS : (place + 1) * _MOST_PANELS]
        for axes in row[len(matrices) :]:
            axes.remove()
        for axes, (epoch, matrix) in zip(row, matrices.items(), strict=False):
            layers = group.runs[0].layers
            texts = in_digits(matrix.round(2)) if len(layers) <= _MOST_WITH_NUMBERS else None
            image = draw_cells(axes, matrix, texts, vmin=min(low, 0.99), vmax=1)
            layer_ticks(axes, layers)
            layer_ticks(axes, layers, vertical=True)
            told = [group.label] if len(view.groups) > 1 else []
            told += [metric] if any(other != metric for _, other, _ in rows) else []
            when = "untrained" if epoch == 0 else f"epoch {epoch}"
            panel_title(axes, ", ".join([*told, when]), side - 1.0)
            used.append(axes)
    colour_bar(image, used, "similarity")
    metrics = {metric for _, metric, _ in rows}
    name = metrics.pop() if len(metrics) == 1 else "Similarity"
    title(figure, f"{name} of all pairs of layers", context(view, view.phase))
    return figure


def _matrices(group: ReplicateGroup, phase: str, metric: str) -> dict[int, NDArray[np.float64]]:
    """Return the mean over runs (L, L) at some epochs, the first and the last among them."""
    count = len(group.runs[0].layers)
    found: dict[int, list[NDArray[np.float64]]] = {}
    for run in group.runs:
        for entry in run.log.pairs.get((phase, metric), ()):
            if entry.value.shape == (count, count) and np.isfinite(entry.value).any():
                found.setdefault(entry.epoch, []).append(entry.value)
    return {epoch: mean_of_known(found[epoch]) for epoch in some_epochs(found, _MOST_PANELS)}
