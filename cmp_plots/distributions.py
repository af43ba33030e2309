"""How a metric's values are spread over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import context, layer_colours, layer_ticks, panels, require, set_scale, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("distributions", file="metric_distributions_{phase}")
def distributions(view: PlotView) -> Figure:
    """All headline metrics as boxes by layer: the spread over epochs 1, 2, … of all runs.

    A box holds the middle half, the line in it the median, the whiskers reach at most 1.5 boxes
    further. The untrained network is left out.
    """
    layers = view.run_set.layers
    shown = {}
    for metric in view.run_set.headlines:
        values = [_trained(view, layer, metric) for layer in layers]
        if any(len(box) for box in values):
            shown[metric] = values
    require(bool(shown), f"no metrics of trained weights in {view.phase}")
    colours = layer_colours(layers)
    figure, grid = panels(len(shown))
    for axes, (metric, values) in zip(grid, shown.items(), strict=True):
        boxes = axes.boxplot(
            values,
            positions=range(len(layers)),
            widths=0.7,
            patch_artist=True,
            medianprops={"color": "white", "linewidth": 1.5},
            flierprops={"markersize": 2, "markeredgecolor": "0.5"},
            whiskerprops={"color": "0.5"},
            capprops={"color": "0.5"},
        )
        for box, layer in zip(boxes["boxes"], layers, strict=True):
            box.set(facecolor=colours[layer], edgecolor="0.5", linewidth=0.6)
        set_scale(axes, view.runs, metric, np.concatenate(values))
        units = {run.unit_of(metric) for run in view.runs} - {""}
        axes.set(title=metric, ylabel=units.pop() if len(units) == 1 else "")
        layer_ticks(axes, layers)
    title(figure, "Spread over epochs, by layer", context(view, view.phase))
    return figure


def _trained(
    view: PlotView, layer: str, metric: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = [run.series(view.phase, layer, metric) for run in view.runs]
    values = [series.values[series.epochs > 0] for series in found if series is not None]
    return np.concatenate(values) if values else np.zeros(0)


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(distributions)
