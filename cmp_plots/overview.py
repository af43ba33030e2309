"""Every metric over training, one panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    layer_colours,
    layer_key,
    mean_and_spread,
    over_epochs,
    panels,
    require,
    set_scale,
    title,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("overview", file="all_metrics_overview_{phase}")
def overview(view: PlotView) -> Figure:
    """All headline metrics by epoch, a panel each, a line per layer.

    Of several runs of one experiment the mean and the range are shown.
    """
    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    shown = [
        metric
        for metric in view.run_set.headlines
        if any(run.series(view.phase, layer, metric) for run in view.runs for layer in run.layers)
    ]
    require(bool(shown), f"no metrics in {view.phase}")
    layers = view.run_set.layers
    colours = layer_colours(layers)
    figure, grid = panels(len(shown))
    for axes, metric in zip(grid, shown, strict=True):
        everything = []
        for layer in layers:
            epochs, values = over_epochs(group.runs, view.phase, layer, metric)
            mean_and_spread(axes, epochs, values, color=colours[layer])
            everything.append(values.ravel())
        set_scale(axes, view.runs, metric, np.concatenate(everything))
        units = {run.unit_of(metric) for run in view.runs} - {""}
        axes.set_title(metric)
        axes.set(xlabel="epoch", ylabel=units.pop() if len(units) == 1 else "")
        whole_ticks(axes)
    layer_key(figure, grid, layers)
    title(figure, "All metrics by layer and epoch", context(view, view.phase))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(overview)
