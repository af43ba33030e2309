"""One metric at one layer in several runs."""

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
    metric_label,
    panels,
    require,
    title,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("multi_run", file="multi_run_{metric}_{layer}_{phase}", runs="several")
def multi_run(view: PlotView) -> Figure:
    """A metric at a layer by epoch in several runs: each one thin, the mean of replicates thick."""
    figure, (axes,) = panels(1, size=(7.0, 4.0))
    key = group_key(view.groups)
    drawn = {}
    for group in view.groups:
        epochs, values = over_time(group.runs, view.phase, view.layer, view.metric)
        if len(epochs):
            drawn[group.label] = values.ravel()
            mean_and_spread(axes, epochs, values, **key[group.label])
            if len(group.runs) > 1:
                axes.plot(epochs, values.T, ".-", linewidth=0.6, alpha=0.6, **key[group.label])
    require(drawn, f"no value of {view.metric} at {view.layer} in {view.phase}")
    set_scale(axes, np.concatenate(list(drawn.values())), bounds(view, view.metric))
    axes.set(xlabel="epoch", ylabel=metric_label(view, view.metric))
    whole_ticks(axes)
    shown = {label: style for label, style in key.items() if label in drawn}
    what = f"{view.metric} at {view.layer}"
    title(figure, what, context(view, view.phase), shown if len(view.groups) > 1 else None)
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(multi_run)
