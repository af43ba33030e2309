"""One metric at one layer through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PALETTE, PlotView, Register, Series, hookimpl, plot
from cmp_plots._style import context, metric_label, require, set_scale, single, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS = 2000
"""More batches than this are thinned out, or they are a solid block and a slow file."""


@plot("timeline", file="timeline_{metric}_{layer}")
def timeline(view: PlotView) -> Figure:
    """A metric at a layer by step: training batches, the training subset, and validation.

    Batches and splits differ in the number of samples, on which many metrics depend. The line
    through the batches is a running median.
    """
    run, values = view.run, []
    figure, axes = single(8.0, 4.2)
    batches = run.series("batch", view.layer, view.metric)
    if batches is not None:
        values.append(batches.values)
        thin = slice(None, None, -(-len(batches.values) // _MOST_POINTS))
        name = f"training batches ({_samples(batches)})"
        axes.plot(
            batches.steps[thin], batches.values[thin], ".", color="0.6", markersize=2, alpha=0.6
        )
        axes.plot(batches.steps, _running_median(batches.values), color="0.45", label=name)
    phases = [("val", "validation", "o"), ("train", "training subset", "s")]
    for (phase, name, marker), colour in zip(phases, PALETTE, strict=False):
        series = run.series(phase, view.layer, view.metric)
        if series is None or (phase == "train" and run.log.averages_batches):
            continue
        values.append(series.values)
        label = f"{name} ({_samples(series)})"
        axes.plot(series.steps, series.values, marker=marker, color=colour, label=label)
    require(bool(values), f"no value of {view.metric} at {view.layer}")
    set_scale(axes, view.runs, view.metric, np.concatenate(values))
    axes.set(xlabel="step", ylabel=metric_label(view.runs, view.metric))
    axes.legend()
    title(figure, f"{view.metric} at {view.layer}", context(view))
    return figure


def _samples(series: Series) -> str:
    sizes = np.unique(series.n)
    if sizes[0] == 0:
        return "n not known"
    return f"n = {sizes[-1]:,}" if len(sizes) == 1 else f"n up to {sizes[-1]:,}"


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of the nearest 2 % of all values, at least three."""
    from scipy.ndimage import median_filter

    width = max(3, len(values) // 50)
    return np.asarray(median_filter(values, size=width, mode="nearest"))


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(timeline)
