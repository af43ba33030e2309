"""Models side by side, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    group_colours,
    layer_ticks,
    mean_and_spread,
    metric_label,
    require,
    set_scale,
    single,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("architecture_comparison", file="architecture_comparison_{metric}", runs="several")
def architecture_comparison(view: PlotView) -> Figure:
    """A metric by layer for each experiment, at the tested weights, with the untrained network.

    Values of validation; the mean over seeds, and their range as a band. Thin dotted lines are the
    untrained networks: what is there already was not learned.
    """
    require(len(view.groups) > 1, "it compares experiments, and the runs differ by seed alone")
    layers = view.run_set.layers
    figure, axes = single()
    colours = group_colours(view.groups)
    everything = []
    for group in view.groups:
        trained = np.stack(
            [run.profile("val", view.metric, run.tested_epoch, layers) for run in group.runs]
        )
        untrained = np.stack([run.profile("val", view.metric, 0, layers) for run in group.runs])
        style = {"color": colours[group.label]}
        places = np.arange(len(layers))
        mean_and_spread(axes, places, trained, marker="o", label=group.label, **style)
        mean_and_spread(axes, places, untrained, linestyle=":", linewidth=1, **style)
        everything += [trained.ravel(), untrained.ravel()]
    values = np.concatenate(everything)
    require(bool(np.isfinite(values).any()), f"no value of {view.metric} on validation")
    set_scale(axes, view.runs, view.metric, values)
    if any(np.isfinite(part).any() for part in everything[1::2]):
        axes.plot([], [], color="0.4", linestyle=":", linewidth=1, label="untrained")
    layer_ticks(axes, layers)
    axes.set(xlabel="layer", ylabel=metric_label(view.runs, view.metric))
    axes.legend()
    title(figure, f"{view.metric} by layer", context(view, "val"))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(architecture_comparison)
