"""All metrics at all layers on one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, plot
from cmp_plots._cells import colour_bar, draw_cells, in_digits
from cmp_plots._lines import mean_of_known, profiles
from cmp_plots._style import (
    context,
    layer_ticks,
    mean_over_runs,
    measured,
    name_ticks,
    panel_title,
    panels,
    require,
    title,
    with_unit,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("metrics_heatmap", file="metrics_heatmap_{phase}")
def metrics_heatmap(view: PlotView) -> Figure:
    """All headline metrics by layer at the tested weights: numbers, coloured within each row.

    Colours run from the smallest to the largest value of a row, so they cannot be compared between
    rows. A panel per experiment, of which it is the mean over the runs.
    """
    layers, metrics = view.run_set.layers, measured(view, view.phase)
    pages = {}
    for group in view.groups:
        rows = [mean_of_known(profiles(group, layers, name, view.phase)) for name in metrics]
        known = [i for i, row in enumerate(rows) if np.isfinite(row).any()]
        if known:
            pages[group.label] = [metrics[i] for i in known], np.stack([rows[i] for i in known])
    require(pages, f"no metrics of the tested weights in {view.phase}")
    most = max(len(names) for names, _ in pages.values())
    size = (max(8.0, 0.56 * len(layers) + 3.6), max(1.5, 0.33 * most + 0.8))
    figure, grid = panels(len(pages), columns=1, size=size)
    for axes, (label, (names, values)) in zip(grid, pages.items(), strict=True):
        low = np.nanmin(values, axis=1, keepdims=True)
        span = np.nanmax(values, axis=1, keepdims=True) - low
        shades = np.where(span > 0, (values - low) / np.where(span > 0, span, 1), values * 0 + 0.5)
        texts = np.stack([in_digits(row) for row in values])
        image = draw_cells(axes, shades, texts, vmin=0, vmax=1)
        name_ticks(axes, [with_unit(view, name) for name in names], vertical=True)
        layer_ticks(axes, layers)
        bar = colour_bar(image, axes, "")
        bar.set_ticks([0, 1], labels=["lowest\nof row", "highest\nof row"])
        panel_title(axes, label if len(view.groups) > 1 else "", size[0] - 3.2)
    what = f"All metrics at the tested weights{mean_over_runs(view.groups)}"
    title(figure, what, context(view, view.phase, tested=True))
    return figure
