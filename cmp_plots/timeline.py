"""One metric at one layer through training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PALETTE, PlotView, ReplicateGroup, plot
from cmp_plots._lines import mean_and_spread, over_time, samples_over_time
from cmp_plots._running_mean import half_window, running_mean
from cmp_plots._scales import share_scale
from cmp_plots._style import (
    PHASE_NAMES,
    Style,
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

Floats = NDArray[np.float64]

_MOST_POINTS = 2000
"""More batches than this are thinned out, or they are a solid block and a slow file."""

_BATCHES: Style = {"color": "0.5", "alpha": 0.7, "linestyle": "none", "marker": "."}
_RUNNING_MEAN: Style = {"color": "0.45"}
_STYLES: dict[str, Style] = {
    "batch": _BATCHES,
    "val": {"color": PALETTE[0], "marker": "o"},
    "train": {"color": PALETTE[1], "marker": "s"},
}


@plot("timeline", file="timeline_{metric}_{layer}")
def timeline(view: PlotView) -> Figure:
    """A metric at a layer by step: training batches, the training subset, and validation.

    Batches and splits differ in the number of samples, on which many metrics depend, and in how
    linear fits score them: batches by a ridge regression in folds, splits by least squares. The
    line through the batches is a running mean over a twentieth of the steps, at least nine batches,
    each weighted by its samples. It begins and ends half a window in from the first and the last
    batch, and where batches are too few for a window there is none. A panel per experiment, of
    which the mean over the runs and their range are shown; those that have the metric on one scale
    share an axis.
    """
    groups = [group for group in view.groups if any(_sizes(view, group, p) for p in _STYLES)]
    require(groups, f"no value of {view.metric} at {view.layer}")
    size = (8.0, 3.8 if len(groups) == 1 else 2.8)
    figure, grid = panels(len(groups), 1, size, sharex=True)
    axes_of = {group.label: axes for axes, group in zip(grid, groups, strict=True)}
    half, one_in = _half_window(view, groups), _one_in(view, groups)
    drawn = {}
    has_mean = False
    for group in groups:
        axes, shown = axes_of[group.label], []
        for phase, style in _STYLES.items():
            if not _sizes(view, group, phase):
                continue
            steps, values, errors = over_time(group.runs, phase, view.layer, view.metric, "steps")
            if phase == "batch":
                has_mean |= _draw_batches(axes, view, group, half, one_in)
            else:
                mean_and_spread(axes, steps, values, errors, **style)
            shown.append(values.ravel())
        drawn[group.label] = np.concatenate(shown)
        panel_title(axes, group.label if len(view.groups) > 1 else "", 6.6)
    for part in view.run_set.on_one_scale(view.metric):
        labels = [group.label for group in part if group.label in drawn]
        if labels:
            same = [axes_of[label] for label in labels]
            values = np.concatenate([drawn[label] for label in labels])
            scale = share_scale(same, values, bounds(view, view.metric))
            for axes in same:
                axes.set_ylabel(metric_label(view, view.metric, scale, size[1] - 0.6))
    grid[-1].set_xlabel("step")
    key = _key(view, groups, one_in)
    if has_mean:
        key[f"running mean of batches (± {half:,} steps)"] = _RUNNING_MEAN
    title(figure, f"{view.metric} at {view.layer}", context(view), key)
    return figure


def _half_window(view: PlotView, groups: list[ReplicateGroup]) -> int:
    """Return half of the window of all running means of a picture, in steps: the widest."""
    found = [
        half_window(series.steps)
        for group in groups
        for run in group.runs
        if (series := run.log.series.get(("batch", view.layer, view.metric))) is not None
    ]
    return max(found, default=1)


def _key(view: PlotView, groups: list[ReplicateGroup], one_in: int) -> dict[str, Style]:
    """Return the key of the phases: on how many samples values rest, and how fits score them."""
    sizes = {p: set[int]().union(*(_sizes(view, group, p) for group in groups)) for p in _STYLES}
    about = _fits(view)
    if one_in > 1:
        about["batch"] = f"{about.get('batch', '')}, one in {one_in:,} drawn"
    return {
        f"{PHASE_NAMES[p]} ({_told(sizes[p])}{about.get(p, '')})": style
        for p, style in _STYLES.items()
        if sizes[p]
    }


def _sizes(view: PlotView, group: ReplicateGroup, phase: str) -> set[int]:
    """Return the numbers of samples that values rest on; none where there are no such values."""
    found = [run.log.series.get((phase, view.layer, view.metric)) for run in group.runs]
    averaged = phase == "train" and any(run.log.averages_batches for run in group.runs)
    return {int(n) for series in found if series and not averaged for n in series.n}


def _one_in(view: PlotView, groups: list[ReplicateGroup]) -> int:
    """Return of how many batches one is drawn, the same in all panels."""
    where = "batch", view.layer, view.metric
    counts = [
        sum(
            int(np.isfinite(series.values).sum())
            for run in group.runs
            if (series := run.log.series.get(where)) is not None
        )
        for group in groups
    ]
    return max(1, -(-max(counts, default=0) // _MOST_POINTS))


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
    low, high = min(sizes - {0}), max(sizes)
    return f"n = {high:,}" if low == high else f"n = {low:,} to {high:,}"


def _draw_batches(
    axes: Axes, view: PlotView, group: ReplicateGroup, half: int, one_in: int
) -> bool:
    """Draw the batches of all runs, and the mean of the runs' running means if there is one."""
    where = "batch", view.layer, view.metric
    steps, values, _ = over_time(group.runs, *where, "steps")
    known = np.isfinite(values)
    times = np.broadcast_to(steps, values.shape)[known]
    thin = slice(None, None, one_in)
    axes.plot(times[thin], values[known][thin], **_BATCHES)
    means = np.stack(
        [
            running_mean(steps, own, samples_over_time(run, *where, steps), half)
            for run, own in zip(group.runs, values, strict=True)
        ]
    )
    mean_and_spread(axes, steps, means, breaks=True, **_RUNNING_MEAN)
    return bool(np.isfinite(means).any())
