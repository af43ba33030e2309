"""By how much experiments differ from the first of them, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cmp_core import Comparison, Difference, PlotView, plot
from cmp_plots._lines import error_bars
from cmp_plots._style import (
    Style,
    context,
    group_colours,
    layer_ticks,
    literal,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHIFT = 0.12
"""Between the markers of two experiments at a layer."""


@plot("differences", file="differences", runs="several", answers=True, standard=True)
def differences(view: PlotView) -> Figure:
    """Every comparable metric, by layer: what each experiment has more than the first.

    Of the tested weights, paired by seed and test sample. Bars: 95 % intervals, each by itself.
    Filled: p < .05 of no difference, adjusted by Holm's method for all that are shown and that of
    the test accuracies. A cross: no test, since a linear fit had too few samples.
    """
    require(len(view.groups) > 1, "it compares experiments, and the runs differ by seed alone")
    comparisons = view.comparisons()
    metrics = list(dict.fromkeys(metric for one in comparisons for metric in one.metrics))
    require(metrics, "no metric was measured at one layer of two experiments on one scale")
    colours = group_colours(view.groups)
    figure, grid = panels(len(metrics), 3, (4.0, 2.8))
    layers = [layer for layer in view.run_set.layers if any(layer in c.layers for c in comparisons)]
    for axes, metric in zip(grid, metrics, strict=True):
        axes.axhline(0, color="0.5", linewidth=1)
        for place, one in enumerate(comparisons):
            shift = _SHIFT * (place - (len(comparisons) - 1) / 2)
            _draw(axes, one, metric, layers, shift, colours[one.second])
        axes.set_xlim(-0.5, len(layers) - 0.5)
        layer_ticks(axes, layers)
        panel_title(axes, f"{metric}{_beside(view, metric)}", 3.2)
        axes.set_ylabel(literal(_unit(comparisons, metric), 2.4))
    first = comparisons[0].first
    key: dict[str, Style] = {
        f"{one.second} − {first}": {"color": colours[one.second], "marker": "o"}
        for one in comparisons
    }
    key["p ≥ .05 (Holm)"] = {"color": "0.5", "marker": "o", "markerfacecolor": "none"}
    if any(math.isnan(one.p) for found in comparisons for one in found.by_layer):
        key["not tested"] = {"color": "0.5", "marker": "x", "linestyle": "none"}
    title(figure, f"Differences from {first}, by layer", context(view, "test", tested=True), key)
    return figure


def _draw(
    axes: Axes, found: Comparison, metric: str, layers: list[str], shift: float, colour: Any
) -> None:
    """Draw the differences of a metric with their intervals."""
    shown = [one for one in found.by_layer if one.metric == metric]
    if not shown:
        return
    x = np.array([layers.index(one.layer) for one in shown]) + shift
    middle = np.array([_scale(one) * one.estimate.effect for one in shown])
    bars = np.array([_scale(one) * one.estimate.half_width for one in shown])
    if len(x) > 1:
        axes.plot(x, middle, color=colour, linewidth=1, alpha=0.5)
    error_bars(axes, x, middle, bars, colour)
    for place, value, one in zip(x, middle, shown, strict=True):
        fill = colour if one.p < 0.05 else axes.get_facecolor()
        marker = "x" if math.isnan(one.p) else "o"
        axes.plot(place, value, marker=marker, color=colour, markerfacecolor=fill)


def _beside(view: PlotView, metric: str) -> str:
    """Return which neighbour a value at a layer is about as well, in words."""
    info = view.runs[0].metric_info_of(metric)
    return f", with the {info.neighbour} layer" if info is not None and info.neighbour else ""


def _scale(one: Difference) -> float:
    return 100 if one.unit == "fraction" else 1


def _unit(comparisons: tuple[Comparison, ...], metric: str) -> str:
    unit = next(one.unit for c in comparisons for one in c.by_layer if one.metric == metric)
    return "points" if unit == "fraction" else unit
