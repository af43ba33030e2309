"""A metric over depth, from the untrained network to the last epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    layer_ticks,
    metric_label,
    require,
    set_scale,
    single,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LINES = 8


@plot("layerwise", file="layerwise_{metric}_{phase}")
def layerwise(view: PlotView) -> Figure:
    """A metric by layer, a line per epoch from light to dark; dotted, the untrained network.

    Of many epochs some are shown, spaced logarithmically. Of several runs of one experiment it is
    the mean.
    """
    import matplotlib as mpl

    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    layers = view.run_set.layers
    times = {int(e) for run in group.runs for e in run.grid(view.phase, view.metric)[0]}
    require(bool(times), f"no value of {view.metric} in {view.phase}")
    trained = _some(sorted(times - {0}))
    shades = mpl.colormaps["viridis_r"](np.linspace(0.1, 1, max(1, len(trained))))
    figure, axes = single()
    everything = []
    for epoch in ([0] if 0 in times else []) + trained:
        profiles = [run.profile(view.phase, view.metric, epoch, layers) for run in group.runs]
        known = np.isfinite(profiles).any(axis=0)
        values = np.nanmean(np.stack(profiles)[:, known], axis=0)
        style = (
            {"color": "0.5", "linestyle": ":", "label": "untrained"}
            if epoch == 0
            else {"color": shades[trained.index(epoch)], "label": f"epoch {epoch}"}
        )
        axes.plot(np.arange(len(layers))[known], values, marker="o", **style)  # type: ignore
        everything.append(values)
    set_scale(axes, view.runs, view.metric, np.concatenate(everything))
    layer_ticks(axes, layers)
    axes.set(xlabel="layer", ylabel=metric_label(view.runs, view.metric))
    figure.legend(loc="outside right upper")
    title(figure, f"{view.metric} by layer", context(view, view.phase))
    return figure


def _some(epochs: list[int]) -> list[int]:
    """Return the first, the last, and between them some epochs at growing distances."""
    if len(epochs) <= _MOST_LINES:
        return epochs
    places = np.geomspace(1, len(epochs), _MOST_LINES).round().astype(int) - 1
    return [epochs[place] for place in np.unique(places)]


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(layerwise)
