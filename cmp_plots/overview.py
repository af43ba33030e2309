"""Every metric over training, one panel each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._lines import mean_and_spread, over_time
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    bounds,
    by_scale,
    context,
    group_key,
    layer_colours,
    layer_key,
    measured,
    panel_title,
    panels,
    require,
    title,
    unit_label,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("overview", file="all_metrics_overview_{phase}", standard=True)
def overview(view: PlotView) -> Figure:
    """All headline metrics by epoch, a panel each, a line per layer.

    Of several runs of one experiment the mean and the range are shown; of several experiments a
    line each, at the last layer before a head that has the metric, in panels of their own where
    they have it on different scales.
    """
    shown, layers = by_scale(view, measured(view, view.phase)), view.run_set.layers
    require(shown, f"no metrics in {view.phase}")
    is_alone = len(view.groups) == 1
    what = "by layer and epoch" if is_alone else "at the last layer that has them, by epoch"
    key = layer_key(layers) if is_alone else group_key(view.groups)
    by_layer = layer_colours(layers)
    figure, grid = panels(len(shown))
    for axes, (metric, groups, name) in zip(grid, shown, strict=True):
        everything = []
        for group in groups:
            measured_at = _layers(view, group, metric)
            for layer in measured_at if is_alone else measured_at[-1:]:
                colour = by_layer[layer] if is_alone else key[group.label]["color"]
                epochs, values, errors = over_time(group.runs, view.phase, layer, metric)
                mean_and_spread(axes, epochs, values, errors, color=colour)
                everything.append(values.ravel())
        known = np.concatenate(everything or [np.zeros(0)])
        scale = set_scale(axes, known, bounds(view, metric))
        panel_title(axes, name, 2.5)
        axes.set(xlabel="epoch", ylabel=unit_label(view, metric, scale))
        whole_ticks(axes)
    title(figure, f"All metrics {what}", context(view, view.phase), key)
    return figure


def _layers(view: PlotView, group: ReplicateGroup, metric: str) -> list[str]:
    """Return the layers at which a group has a metric, of several groups without heads."""
    layers = view.run_set.layers if len(view.groups) == 1 else group.runs[0].hidden_layers
    there = {key for run in group.runs for key in run.log.series}
    return [layer for layer in layers if (view.phase, layer, metric) in there]
