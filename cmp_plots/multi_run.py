"""One metric at one layer in several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    group_colours,
    mean_and_spread,
    metric_label,
    over_epochs,
    require,
    set_scale,
    single,
    title,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("multi_run", file="multi_run_{metric}_{layer}_{phase}", runs="several")
def multi_run(view: PlotView) -> Figure:
    """A metric at a layer by epoch in several runs: each one thin, the mean of replicates thick."""
    figure, axes = single()
    colours = group_colours(view.groups)
    everything = []
    for group in view.groups:
        epochs, values = over_epochs(group.runs, view.phase, view.layer, view.metric)
        if not len(epochs):
            continue
        everything.append(values.ravel())
        count = f" ({len(group.runs)} seeds)" if len(group.runs) > 1 else ""
        colour = colours[group.label]
        mean_and_spread(axes, epochs, values, color=colour, label=f"{group.label}{count}")
        if len(group.runs) > 1:
            axes.plot(epochs, values.T, color=colour, linewidth=0.6, alpha=0.6)
    require(bool(everything), f"no value of {view.metric} at {view.layer} in {view.phase}")
    set_scale(axes, view.runs, view.metric, np.concatenate(everything))
    axes.set(xlabel="epoch", ylabel=metric_label(view.runs, view.metric))
    whole_ticks(axes)
    axes.legend()
    title(figure, f"{view.metric} at {view.layer}", context(view, view.phase))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(multi_run)
