"""How a metric's values are spread over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    BEAM,
    Style,
    bounds,
    by_scale,
    context,
    group_colours,
    group_key,
    layer_colours,
    layer_ticks,
    panel_title,
    panels,
    require,
    title,
    unit_label,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_FEWEST = 5
"""Fewer values than this are dots: a box would say more than there is."""

_BOX: dict[str, Style] = {
    "median": {"color": "0.5", "linewidth": 2},
    "middle half": {"facecolor": "0.5", "alpha": 0.35},
    "at most 1.5 boxes further": {"color": "0.5", "linestyle": "none", "marker": BEAM},
}
_DOT: Style = {"linestyle": "none", "marker": "o", "markerfacecolor": "none"}
_VALUE: dict[str, Style] = {"one epoch of a run": {"color": "0.5", **_DOT}}


@plot("distributions", file="metric_distributions_{phase}")
def distributions(view: PlotView) -> Figure:
    """All headline metrics as boxes by layer: the spread over epochs 1, 2, … of all runs.

    A box holds the middle half, the line in it the median, the whiskers reach at most 1.5 boxes
    further; of fewer than five values each is a dot. The untrained network is left out. Several
    experiments stand side by side, in panels of their own where they have a metric on different
    scales.
    """
    layers = view.run_set.layers
    shown = []
    for metric, groups, name in by_scale(view, view.run_set.headlines):
        boxes = [[_trained(view, group, layer, metric) for layer in layers] for group in groups]
        if any(len(values) for row in boxes for values in row):
            shown.append((metric, groups, name, boxes))
    require(shown, f"no metrics of trained weights in {view.phase}")
    is_alone = len(view.groups) == 1
    by_layer, by_group = layer_colours(layers), group_colours(view.groups)
    figure, grid = panels(len(shown))
    for axes, (metric, groups, name, boxes) in zip(grid, shown, strict=True):
        width = 0.8 / len(groups)
        for i, (group, row) in enumerate(zip(groups, boxes, strict=True)):
            for place, (layer, values) in enumerate(zip(layers, row, strict=True)):
                colour = by_layer[layer] if is_alone else by_group[group.label]
                at = place + (i - (len(groups) - 1) / 2) * width
                _draw(axes, values, at, 0.85 * width, colour)
        values = np.concatenate([values for row in boxes for values in row])
        scale = set_scale(axes, values, bounds(view, metric))
        panel_title(axes, name, 2.5)
        axes.set_ylabel(unit_label(view, metric, scale))
        axes.set_xlim(-0.5, len(layers) - 0.5)
        layer_ticks(axes, layers)
    counts = [len(values) for *_, boxes in shown for row in boxes for values in row]
    key = {} if is_alone else group_key(view.groups)
    key |= _BOX if max(counts) >= _FEWEST else {}
    key |= _VALUE if any(0 < count < _FEWEST for count in counts) else {}
    over = "epochs and runs" if any(len(group.runs) > 1 for group in view.groups) else "epochs"
    title(figure, f"Spread over {over}, by layer", context(view, view.phase), key)
    return figure


def _draw(axes: Axes, values: NDArray[np.float64], place: float, width: float, colour: Any) -> None:
    from matplotlib.colors import to_rgba

    if len(values) < _FEWEST:
        axes.plot(np.full(len(values), place), values, color=colour, **_DOT)
    else:
        line = {"color": colour}
        axes.boxplot(
            [values],
            positions=[place],
            widths=width,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": to_rgba(colour, 0.35), "edgecolor": colour},
            medianprops={"color": colour, "linewidth": 2},
            flierprops={"markersize": 2, "markeredgecolor": colour},
            whiskerprops=line,
            capprops=line,
        )


def _trained(view: PlotView, group: ReplicateGroup, layer: str, metric: str) -> NDArray[np.float64]:
    found = [run.log.series.get((view.phase, layer, metric)) for run in group.runs]
    values = [series.values[series.epochs > 0] for series in found if series is not None]
    return np.concatenate(values or [np.zeros(0)])
