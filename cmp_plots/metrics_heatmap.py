"""All metrics at all layers on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    layer_ticks,
    metric_label,
    number,
    require,
    single,
    title,
    write_in_cell,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("metrics_heatmap", file="metrics_heatmap_{phase}")
def metrics_heatmap(view: PlotView) -> Figure:
    """All headline metrics by layer at the tested weights: numbers, coloured within each row.

    Colours run from the smallest to the largest value of a row, so they cannot be compared between
    rows. Of several runs of one experiment it is the mean.
    """
    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    layers = view.run_set.layers
    rows = {}
    for metric in view.run_set.headlines:
        profiles = np.stack(
            [run.profile(view.phase, metric, run.tested_epoch, layers) for run in group.runs]
        )
        known = np.isfinite(profiles).any(axis=0)
        if known.any():
            rows[metric] = np.full(len(layers), np.nan)
            rows[metric][known] = np.nanmean(profiles[:, known], axis=0)
    require(bool(rows), f"no metrics of the tested weights in {view.phase}")
    values = np.stack(list(rows.values()))
    low, high = np.nanmin(values, axis=1, keepdims=True), np.nanmax(values, axis=1, keepdims=True)
    spread = np.where(high > low, high - low, 1)
    shades = np.where(
        high > low, (values - low) / spread, np.where(np.isfinite(values), 0.5, np.nan)
    )
    figure, axes = single(max(6.5, 0.62 * len(layers) + 3.6), 0.36 * len(rows) + 1.2)
    image = axes.imshow(shades, aspect="auto", vmin=0, vmax=1)
    axes.grid(visible=False)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = image.cmap(image.norm(shades[row, column]))
            write_in_cell(axes, row, column, number(value), colour)
    axes.set_yticks(range(len(rows)), [metric_label(view.runs, metric) for metric in rows])
    layer_ticks(axes, layers)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_ticks([0, 1], labels=["lowest\nof row", "highest\nof row"])
    title(figure, "All metrics at the tested weights", context(view, view.phase))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(metrics_heatmap)
