"""Every metric over training, one panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._lines import mean_and_spread, over_time
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    bounds,
    context,
    group_key,
    layer_colours,
    layer_key,
    literal,
    measured,
    panels,
    require,
    title,
    unit,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("overview", file="all_metrics_overview_{phase}")
def overview(view: PlotView) -> Figure:
    """All headline metrics by epoch, a panel each, a line per layer.

    Of several runs of one experiment the mean and the range are shown; of several experiments the
    last layer before a head, a line per experiment.
    """
    shown, layers = measured(view, view.phase), view.run_set.layers
    require(shown, f"no metrics in {view.phase}")
    if len(view.groups) == 1:
        what, key = "by layer and epoch", layer_key(layers)
        lines = [(view.groups[0], layer, colour) for layer, colour in layer_colours(layers).items()]
    else:
        what, key = "at the last layer, by epoch", group_key(view.groups)
        lines = [
            (group, group.runs[0].hidden_layers[-1], key[group.label]["color"])
            for group in view.groups
            if group.runs[0].hidden_layers
        ]
    figure, grid = panels(len(shown))
    for axes, metric in zip(grid, shown, strict=True):
        everything = []
        for group, layer, colour in lines:
            epochs, values = over_time(group.runs, view.phase, layer, metric)
            mean_and_spread(axes, epochs, values, color=colour)
            everything.append(values.ravel())
        set_scale(axes, np.concatenate(everything), bounds(view, metric))
        axes.set(title=literal(metric, 2.6), xlabel="epoch", ylabel=unit(view, metric))
        whole_ticks(axes)
    title(figure, f"All metrics {what}", context(view, view.phase), key)
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(overview)
