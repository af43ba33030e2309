"""Similarity of all pairs of layers, as training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import context, layer_ticks, number, panels, require, title, write_in_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_PANELS = 6
_MOST_WITH_NUMBERS = 6


@plot("cka_matrix", file="cka_matrix_{phase}")
def cka_matrix(view: PlotView) -> Figure:
    """Linear CKA of all pairs of layers, from the untrained network to the last epoch.

    1 for layers that differ by a rotation and a scale, about 0 for independent ones. Debiased
    values can be below 0. Any other metric of pairs gets a row of its own. Of several runs of one
    experiment it is the mean.
    """
    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    metrics = dict.fromkeys(m for run in group.runs for p, m in run.log.pairs if p == view.phase)
    require(bool(metrics), f"no matrices of pairs in {view.phase}")
    layers = view.run_set.layers
    rows = []
    for metric in metrics:
        matrices: dict[int, list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]] = {}
        for run in group.runs:
            for entry in run.pairs(view.phase, metric):
                if entry.value.shape == (len(layers), len(layers)):
                    matrices.setdefault(entry.epoch, []).append(entry.value)
        require(bool(matrices), f"the matrices of {metric} are not over the runs' layers")
        epochs = sorted(matrices)
        picked = np.unique(np.geomspace(1, len(epochs), min(len(epochs), _MOST_PANELS)).round())
        rows.append([(metric, epochs[int(i) - 1], matrices[epochs[int(i) - 1]]) for i in picked])
    cells = [cell for row in rows for cell in row]
    side = float(np.clip(0.42 * len(layers) + 1.0, 2.6, 5.0))
    figure, grid = panels(len(cells), columns=max(map(len, rows)), size=(side, side))
    for axes, (metric, epoch, matrices_) in zip(grid, cells, strict=True):
        values = np.mean(matrices_, axis=0)
        image = axes.imshow(values, vmin=min(0.0, float(np.nanmin(values))), vmax=1)
        axes.grid(visible=False)
        if len(layers) <= _MOST_WITH_NUMBERS:
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    colour = image.cmap(image.norm(value))
                    write_in_cell(axes, row, column, number(round(float(value), 2)), colour)
        when = "untrained" if epoch == 0 else f"epoch {epoch}"
        axes.set_title(when if len(metrics) == 1 else f"{metric}, {when}")
        layer_ticks(axes, layers)
        layer_ticks(axes, layers, vertical=True)
    figure.colorbar(image, ax=grid, label="similarity", fraction=0.02)
    name = next(iter(metrics)) if len(metrics) == 1 else "Similarity"
    title(figure, f"{name} of all pairs of layers", context(view, view.phase))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(cka_matrix)
