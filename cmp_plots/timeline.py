"""One metric at one layer through training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cmp_core import PALETTE, PlotView, ReplicateGroup, plot
from cmp_plots._lines import mean_and_spread, mean_of_known, over_time
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    PHASE_NAMES,
    bounds,
    context,
    metric_label,
    panel_title,
    panels,
    require,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 2000
"""More batches than this are thinned out, or they are a solid block and a slow file."""

_STYLES: dict[str, dict[str, Any]] = {
    "batch": {"color": "0.45"},
    "val": {"color": PALETTE[0], "marker": "o"},
    "train": {"color": PALETTE[1], "marker": "s"},
}


@plot("timeline", file="timeline_{metric}_{layer}")
def timeline(view: PlotView) -> Figure:
    """A metric at a layer by step: training batches, the training subset, and validation.

    Batches and splits differ in the number of samples, on which many metrics depend, and in how
    linear fits score them: batches by a ridge regression in folds, splits by least squares. The
    line through the batches is a running mean over the runs and a twentieth of the steps. A panel
    per experiment, of which the mean over the runs and their range are shown.
    """
    groups = [group for group in view.groups if any(_sizes(view, group, p) for p in _STYLES)]
    require(groups, f"no value of {view.metric} at {view.layer}")
    figure, grid = panels(
        len(groups), 1, (8.0, 3.8 if len(groups) == 1 else 2.8), sharex=True, sharey=True
    )
    everything = []
    sizes: dict[str, set[int]] = {}
    for axes, group in zip(grid, groups, strict=True):
        for phase, style in _STYLES.items():
            if found := _sizes(view, group, phase):
                sizes.setdefault(phase, set()).update(found)
                everything.append(_draw(axes, view, group, phase, style))
        axes.set_ylabel(metric_label(view, view.metric))
        panel_title(axes, group.label if len(view.groups) > 1 else "", 6.6)
    for axes in grid:
        set_scale(axes, np.concatenate(everything), bounds(view, view.metric))
    grid[-1].set_xlabel("step")
    fits = _fits(view)
    key = {
        f"{PHASE_NAMES[p]} ({_told(sizes[p])}{fits.get(p, '')})": style
        for p, style in _STYLES.items()
        if p in sizes
    }
    title(figure, f"{view.metric} at {view.layer}", context(view), key)
    return figure


def _sizes(view: PlotView, group: ReplicateGroup, phase: str) -> set[int]:
    """Return the numbers of samples that values rest on; none where there are no such values."""
    found = [run.log.series.get((phase, view.layer, view.metric)) for run in group.runs]
    averaged = phase == "train" and any(run.log.averages_batches for run in group.runs)
    return {int(n) for series in found if series and not averaged for n in series.n}


def _fits(view: PlotView) -> dict[str, str]:
    """Return how linear fits score each phase, in words; nothing for a metric without fits."""
    found = {
        phase: {int(n) for one in series if one is not None for n in one.n_fit}
        for phase in ("val", "train")
        if (series := [run.log.series.get((phase, view.layer, view.metric)) for run in view.runs])
    }
    told = {
        phase: f", fitted to {max(sizes):,}"
        for phase, sizes in found.items()
        if max(sizes, default=0)
    }
    return {"batch": ", ridge in folds", **told} if told else {}


def _told(sizes: set[int]) -> str:
    if sizes == {0}:
        return "n not known"
    return f"n = {max(sizes):,}" if len(sizes) == 1 else f"n up to {max(sizes):,}"


def _draw(
    axes: Axes, view: PlotView, group: ReplicateGroup, phase: str, style: dict[str, Any]
) -> Any:
    """Draw the values of a phase, and return them."""
    from scipy.ndimage import uniform_filter1d

    steps, values, errors = over_time(group.runs, phase, view.layer, view.metric, "steps")
    if phase != "batch":
        mean_and_spread(axes, steps, values, errors, **style)
        return values.ravel()
    known = np.isfinite(values)
    times = np.broadcast_to(steps, values.shape)[known]
    thin = slice(None, None, -(-len(times) // _MOST_POINTS))
    axes.plot(times[thin], values[known][thin], ".", color="0.6", markersize=3, alpha=0.6)
    means = mean_of_known(values)
    width = max(9, len(means) // 20)
    mean_and_spread(axes, steps, uniform_filter1d(means, width, mode="nearest")[None], **style)
    return values.ravel()
