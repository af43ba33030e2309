"""Models side by side, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmp_core import PlotView, plot
from cmp_plots._lines import depth_key, draw_by_layer
from cmp_plots._style import (
    by_scale,
    context,
    measured,
    metric_label,
    on_tested,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("architecture_comparison", file="architecture_comparison_{metric}", runs="several")
def architecture_comparison(view: PlotView) -> Figure:
    """A metric by layer for each experiment, at the tested weights, with the untrained network.

    Values of the test, or of validation where there was none; the mean over seeds. Bars: 95 %
    intervals. Thin dotted lines are the untrained networks: what is there already was not learned.
    Dashed: the input, measured like a layer, where the metric is on one scale in all models.
    Experiments that have it on different scales stand in panels of their own.
    """
    view = on_tested(view)
    require(len(view.groups) > 1, "it compares experiments, and the runs differ by seed alone")
    require(view.metric in measured(view, view.phase), f"no value of {view.metric} in {view.phase}")
    shown = by_scale(view, [view.metric])
    figure, grid = panels(len(shown), 2, (7.0, 4.0) if len(shown) == 1 else (4.6, 3.4))
    for axes, (metric, groups, name) in zip(grid, shown, strict=True):
        scale = draw_by_layer(axes, view, metric, groups)
        panel_title(axes, "" if len(shown) == 1 else name, 3.6)
        axes.set_ylabel(metric_label(view, metric, scale))
    title(
        figure,
        f"{view.metric} by layer",
        context(view, view.phase, tested=True),
        depth_key(view, shown),
    )
    return figure
