"""A metric over depth, from the untrained network to the last epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, plot
from cmp_plots._lines import NORMAL, UNTRAINED, error_bars, mean_of_known, profiles, some_epochs
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    bounds,
    context,
    layer_ticks,
    metric_label,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LINES = 8


@plot("layerwise", file="layerwise_{metric}_{phase}")
def layerwise(view: PlotView) -> Figure:
    """A metric by layer, a line per epoch from light to dark; dotted, the untrained network.

    Of many epochs some are shown, spaced logarithmically. A panel per experiment, of which it is
    the mean over the runs. Bars: 95 % intervals over samples, of one run where it has errors.
    """
    import matplotlib as mpl

    layers = view.run_set.layers
    measured = [run for run in view.runs if view.metric in run.metrics]
    times = {int(e) for run in measured for e in run.grid(view.phase, view.metric)[0]}
    require(times, f"no value of {view.metric} in {view.phase}")
    trained = some_epochs(times - {0}, _MOST_LINES)
    shades = mpl.colormaps["plasma_r"](np.linspace(0.2, 1, max(2, len(trained))))
    styles = {0: {"color": "0.5", **UNTRAINED}} if 0 in times else {}
    styles |= {
        e: {"color": s} for e, s in zip(trained, shades[len(shades) - len(trained) :], strict=True)
    }
    alone = len(view.groups) == 1
    size = (7.0, 4.0) if alone else (4.6, 3.4)
    figure, grid = panels(len(view.groups), 2, size, sharey=True)
    everything = []
    for axes, group in zip(grid, view.groups, strict=True):
        for epoch, style in styles.items():
            values = mean_of_known(profiles(group, layers, view.metric, view.phase, epoch))
            known = np.flatnonzero(np.isfinite(values))
            axes.plot(known, values[known], marker="o", **style)
            if len(group.runs) == 1:
                (errors,) = profiles(group, layers, view.metric, view.phase, epoch, "errors")
                error_bars(axes, known, values[known], NORMAL * errors[known], style["color"])
            everything.append(values)
        layer_ticks(axes, layers)
        axes.set_xlim(-0.4, len(layers) - 0.6)
        panel_title(axes, "" if alone else group.label, 3.6)
    for axes in grid[::2]:
        axes.set_ylabel(metric_label(view, view.metric))
    for axes in grid:
        set_scale(axes, np.concatenate(everything), bounds(view, view.metric))
    key = {f"epoch {epoch}" if epoch else "untrained": style for epoch, style in styles.items()}
    title(figure, f"{view.metric} by layer", context(view, view.phase), key)
    return figure
