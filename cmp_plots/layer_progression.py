"""How each metric changes from layer to layer, against the untrained network and the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    group_colours,
    layer_ticks,
    mean_and_spread,
    panels,
    require,
    set_scale,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("layer_progression", file="layer_progression_analysis")
def layer_progression(view: PlotView) -> Figure:
    """All headline metrics by depth at the tested weights, beside untrained network and input.

    Values of validation; of several seeds the mean and the range. Dotted: the untrained network.
    Dashed level: the input, measured like a layer.
    """
    layers = view.run_set.layers
    colours = group_colours(view.groups)
    shown = [
        metric
        for metric in view.run_set.headlines
        if any(run.series("val", layer, metric) for run in view.runs for layer in layers)
    ]
    require(bool(shown), "no metrics on validation")
    figure, grid = panels(len(shown))
    places = np.arange(len(layers))
    for axes, metric in zip(grid, shown, strict=True):
        everything = []
        for group in view.groups:
            style = {"color": colours[group.label]}
            trained, untrained = (
                np.stack(
                    [
                        run.profile("val", metric, run.tested_epoch if tested else 0, layers)
                        for run in group.runs
                    ]
                )
                for tested in (True, False)
            )
            mean_and_spread(axes, places, trained, marker="o", **style)
            mean_and_spread(axes, places, untrained, linestyle=":", linewidth=1.2, **style)
            everything += [trained.ravel(), untrained.ravel()]
        levels = [run.value("val", "input", metric) for run in view.runs]
        level = float(np.mean(levels))
        if np.isfinite(level):
            axes.axhline(level, color="0.5", linestyle="--", linewidth=1)
            everything.append(np.array(levels))
        set_scale(axes, view.runs, metric, np.concatenate(everything))
        units = {run.unit_of(metric) for run in view.runs} - {""}
        axes.set(title=metric, ylabel=units.pop() if len(units) == 1 else "")
        axes.set_xlim(-0.4, len(layers) - 0.6)
        layer_ticks(axes, layers)
    _key(figure, view, colours)
    title(figure, "From layer to layer", context(view, "val"))
    return figure


def _key(figure: Figure, view: PlotView, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    several = len(view.groups) > 1
    handles = [Line2D([], [], color=colours[g.label], marker="o") for g in view.groups]
    names = [group.label if several else "trained" for group in view.groups]
    grey = "0.4" if several else colours[view.groups[0].label]
    handles += [
        Line2D([], [], color=grey, linestyle=":", linewidth=1.2),
        Line2D([], [], color="0.5", linestyle="--", linewidth=1),
    ]
    figure.legend(handles, [*names, "untrained", "input"], loc="outside right upper")


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(layer_progression)
