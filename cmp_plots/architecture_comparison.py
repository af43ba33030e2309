"""Models side by side, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._lines import depth_key, draw_by_layer
from cmp_plots._style import context, measured, metric_label, panels, require, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("architecture_comparison", file="architecture_comparison_{metric}", runs="several")
def architecture_comparison(view: PlotView) -> Figure:
    """A metric by layer for each experiment, at the tested weights, with the untrained network.

    Values of validation; the mean over seeds, and their range as a band. Thin dotted lines are the
    untrained networks: what is there already was not learned. Dashed: the input, measured like a
    layer.
    """
    require(len(view.groups) > 1, "it compares experiments, and the runs differ by seed alone")
    require(view.metric in measured(view, "val"), f"no value of {view.metric} on validation")
    figure, (axes,) = panels(1, size=(7.0, 4.0))
    draw_by_layer(axes, view, view.metric)
    axes.set_ylabel(metric_label(view, view.metric))
    title(figure, f"{view.metric} by layer", context(view, "val"), depth_key(view))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(architecture_comparison)
