"""How each metric changes from layer to layer, against the untrained network and the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmp_core import PlotView, plot
from cmp_plots._lines import depth_key, draw_by_layer
from cmp_plots._style import (
    by_scale,
    context,
    measured,
    on_tested,
    panel_title,
    panels,
    require,
    title,
    unit_label,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("layer_progression", file="layer_progression_analysis", standard=True)
def layer_progression(view: PlotView) -> Figure:
    """All headline metrics by depth at the tested weights, beside untrained network and input.

    Values of the test, or of validation where there was none; of several seeds the mean. Bars:
    95 % intervals. Dotted: the untrained network. Dashed: the input, measured like a layer,
    where the metric is on one scale in all models; elsewhere experiments stand in panels of their
    own.
    """
    view = on_tested(view)
    shown = by_scale(view, measured(view, view.phase))
    require(shown, f"no metrics in {view.phase}")
    figure, grid = panels(len(shown))
    for axes, (metric, groups, name) in zip(grid, shown, strict=True):
        scale = draw_by_layer(axes, view, metric, groups)
        panel_title(axes, name, 2.5)
        axes.set_ylabel(unit_label(view, metric, scale))
    title(
        figure,
        "From layer to layer",
        context(view, view.phase, tested=True),
        depth_key(view, shown),
    )
    return figure
