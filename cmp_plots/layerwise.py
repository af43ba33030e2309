"""A metric over depth, from the untrained network to the last epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, plot
from cmp_plots._lines import NORMAL, UNTRAINED, error_bars, mean_of_known, profiles, some_epochs
from cmp_plots._scales import share_scale
from cmp_plots._style import (
    bounds,
    context,
    layer_ticks,
    mean_over_runs,
    metric_label,
    panel_title,
    panels,
    require,
    tested_epochs,
    title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_MOST_LINES = 8


@plot("layerwise", file="layerwise_{metric}_{phase}")
def layerwise(view: PlotView) -> Figure:
    """A metric by layer, a line per epoch from light to dark; dotted, the untrained network.

    Of many epochs some are shown, spaced logarithmically, and always those whose weights were
    tested, which are named. A panel per experiment, of which it is the mean over the runs; those
    that have the metric on one scale share an axis. Bars: 95 % intervals over samples, of one run
    where it has errors.
    """
    import matplotlib as mpl

    layers = view.run_set.layers
    measured = [run for run in view.runs if view.metric in run.metrics]
    times = {int(e) for run in measured for e in run.grid(view.phase, view.metric)[0]}
    require(times, f"no value of {view.metric} in {view.phase}")
    tested = {run.tested_epoch for run in measured}
    trained = sorted({*some_epochs(times - {0}, _MOST_LINES), *(times & tested - {0})})
    shades = mpl.colormaps["plasma_r"](np.linspace(0.2, 1, max(2, len(trained))))
    styles = {0: {"color": "0.5", **UNTRAINED}} if 0 in times else {}
    styles |= {
        e: {"color": s} for e, s in zip(trained, shades[len(shades) - len(trained) :], strict=True)
    }
    alone = len(view.groups) == 1
    size = (7.0, 4.0) if alone else (4.6, 3.4)
    figure, grid = panels(len(view.groups), 2, size)
    axes_of = {group.label: axes for axes, group in zip(grid, view.groups, strict=True)}
    everything: dict[str, list[Floats]] = {label: [] for label in axes_of}
    for group in view.groups:
        axes = axes_of[group.label]
        for epoch, style in styles.items():
            values = mean_of_known(profiles(group, layers, view.metric, view.phase, epoch))
            known = np.flatnonzero(np.isfinite(values))
            axes.plot(known, values[known], marker="o", **style)
            if len(group.runs) == 1:
                (errors,) = profiles(group, layers, view.metric, view.phase, epoch, "errors")
                error_bars(axes, known, values[known], NORMAL * errors[known], style["color"])
            everything[group.label].append(values)
        layer_ticks(axes, layers)
        axes.set_xlim(-0.4, len(layers) - 0.6)
        its_own = f"{group.label}, tested: {tested_epochs(group.runs)}"
        panel_title(axes, "" if alone else its_own, 3.6)
    for part in view.run_set.on_one_scale(view.metric):
        same = [axes_of[group.label] for group in part]
        values = np.concatenate([x for group in part for x in everything[group.label]])
        scale = share_scale(same, values, bounds(view, view.metric))
        for axes in same:
            axes.set_ylabel(metric_label(view, view.metric, scale))
    key = {_name(view, epoch): style for epoch, style in styles.items()}
    what = f"{view.metric} by layer{mean_over_runs(view.groups)}"
    title(figure, what, context(view, view.phase), key)
    return figure


def _name(view: PlotView, epoch: int) -> str:
    """Return what the key calls an epoch; of one experiment it tells whose weights were tested."""
    name = f"epoch {epoch}" if epoch else "untrained"
    tested = [run.tested_epoch == epoch for run in view.runs]
    if len(view.groups) > 1 or not any(tested):
        return name
    return f"{name} (tested{'' if all(tested) else f' of {sum(tested)} of {len(tested)} runs'})"
