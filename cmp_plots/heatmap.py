"""A metric by layer and time, or by layer and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._cells import colour_bar, draw_cells, in_digits
from cmp_plots._lines import profiles
from cmp_plots._scales import colour_scale
from cmp_plots._style import (
    bounds,
    context,
    layer_ticks,
    metric_label,
    name_ticks,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 120
_WIDEST = 20


@plot("heatmap", file="heatmap_{metric}_{phase}")
def heatmap(view: PlotView) -> Figure:
    """A metric by layer and epoch; for several runs by layer and run, at the tested weights.

    Empty cells have no value: the layer is not there, or the metric is not defined at it.
    """
    layers = view.run_set.layers
    if len(view.runs) == 1:
        epochs, values = view.run.grid(view.phase, view.metric)
        columns, what, room = [str(epoch) for epoch in epochs], "epoch", 0.5
    else:
        everyone = ReplicateGroup("", view.runs)
        values = profiles(everyone, layers, view.metric, view.phase).T
        columns, what, room = list(view.run_set.names), "run", 1.0
    present = np.isfinite(values).any(axis=1)
    require(present.any(), f"no value of {view.metric} in {view.phase}")
    kept = [layers[i] for i in np.flatnonzero(present)]
    values = values[present]
    width = float(np.clip(room * len(columns) + 1.8, 5.5, 12.0))
    height = max(1.9, 0.34 * len(kept) + 0.7)
    figure, (axes,) = panels(1, size=(width, height))
    norm, colours = colour_scale(values, bounds(view, view.metric))
    fits = values.size <= _MOST_WITH_NUMBERS and len(columns) <= _WIDEST
    image = draw_cells(axes, values, in_digits(values) if fits else None, norm=norm, cmap=colours)
    colour_bar(image, axes, metric_label(view, view.metric, height - 0.55))
    layer_ticks(axes, kept, vertical=True)
    name_ticks(axes, columns)
    axes.set_xlabel("epoch (0: untrained)" if what == "epoch" else "")
    title(figure, f"{view.metric} by layer and {what}", context(view, view.phase))
    return figure
