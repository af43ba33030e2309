"""One metric at one layer in several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, plot
from cmp_plots._lines import mean_and_spread, over_time
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    Style,
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


_ONE_RUN: Style = {"marker": ".", "linewidth": 0.6, "alpha": 0.6}


@plot("multi_run", file="multi_run_{metric}_{layer}_{phase}", runs="several")
def multi_run(view: PlotView) -> Figure:
    """A metric at a layer by epoch in several runs: each one thin, the mean of replicates thick.

    A band is the range over replicates; bars are 95 % intervals of one run over its samples.

    Experiments that have the metric on different scales stand in panels of their own.
    """
    found = {
        group.label: over_time(group.runs, view.phase, view.layer, view.metric)
        for group in view.groups
    }
    drawn = {label for label, (epochs, *_) in found.items() if len(epochs)}
    require(drawn, f"no value of {view.metric} at {view.layer} in {view.phase}")
    parts = view.run_set.on_one_scale(view.metric)
    kept = [own for part in parts if (own := [one for one in part if one.label in drawn])]
    figure, grid = panels(len(kept), 2, (7.0, 4.0) if len(kept) == 1 else (4.6, 3.4))
    key = group_key(view.groups)
    for axes, groups in zip(grid, kept, strict=True):
        for group in groups:
            epochs, values, errors = found[group.label]
            mean_and_spread(axes, epochs, values, errors, **key[group.label])
            if len(group.runs) > 1:
                axes.plot(epochs, values.T, **_ONE_RUN, **key[group.label])
        everything = np.concatenate([found[group.label][1].ravel() for group in groups])
        scale = set_scale(axes, everything, bounds(view, view.metric))
        axes.set(xlabel="epoch", ylabel=metric_label(view, view.metric, scale))
        whole_ticks(axes)
    shown = {label: style for label, style in key.items() if label in drawn}
    shown = shown if len(view.groups) > 1 else {}
    if any(len(group.runs) > 1 for groups in kept for group in groups):
        shown |= {"mean": {"color": "0.5"}, "one run": {"color": "0.5", **_ONE_RUN}}
    what = f"{view.metric} at {view.layer}"
    title(figure, what, context(view, view.phase), shown)
    return figure
