"""Values of replicates as lines: over time and over depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmp_core import PlotView, ReplicateGroup, RunRecord
from cmp_plots._scales import set_scale
from cmp_plots._style import Style, bounds, group_colours, group_key, layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
INPUT = "input"
"""Name under which the network's input is measured like a layer."""
UNTRAINED: Style = {"linestyle": ":", "linewidth": 1.2, "markerfacecolor": "none"}
INPUT_LEVEL: Style = {"color": "0.5", "linestyle": "--", "linewidth": 1}


def mean_and_spread(axes: Axes, x: ArrayLike, values: Floats, **style: Any) -> None:
    """Draw the mean of values (runs, k) over x (k,) and, for several runs, their range."""
    present = np.isfinite(values).any(axis=0)
    if not present.any():
        return
    at, kept = np.asarray(x)[present], values[:, present]
    if len(at) == 1:
        style = {"marker": "o", **style}  # a line through one point cannot be seen
    (line,) = axes.plot(at, np.nanmean(kept, axis=0), **style)
    if len(values) > 1:
        low, high = np.nanmin(kept, axis=0), np.nanmax(kept, axis=0)
        axes.fill_between(at, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def mean_of_known(values: ArrayLike) -> Floats:
    """Return the mean over the runs (runs, …), NaN where none has a value."""
    runs = np.asarray(values, dtype=np.float64)
    known = np.isfinite(runs)
    total, count = np.where(known, runs, 0).sum(axis=0), known.sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def some_epochs(epochs: Iterable[int], most: int) -> list[int]:
    """Return the first epoch, the last, and between them some at growing distances.

    >>> some_epochs(range(13), 4)
    [0, 1, 5, 12]
    """
    times = sorted(epochs)
    if len(times) <= most:
        return times
    return [times[int(i) - 1] for i in np.unique(np.geomspace(1, len(times), most).round())]


def over_time(
    runs: Sequence[RunRecord],
    phase: str,
    layer: str,
    metric: str,
    time: Literal["epochs", "steps"] = "epochs",
) -> tuple[NDArray[np.int64], Floats]:
    """Return times (k,) and the values of the runs at a layer (runs, k), NaN where missing."""
    found = [run.series(phase, layer, metric) for run in runs]
    times = np.unique(np.concatenate([getattr(series, time) for series in found if series] or [[]]))
    values = np.full((len(runs), len(times)), np.nan)
    for row, series in zip(values, found, strict=True):
        if series is not None:
            row[np.searchsorted(times, getattr(series, time))] = series.values
    return times, values


def profiles(
    group: ReplicateGroup,
    layers: Sequence[str],
    metric: str,
    phase: str = "val",
    epoch: int | None = None,
) -> Floats:
    """Return a metric at all layers (runs, L) at an epoch, by default at the tested weights."""
    return np.stack(
        [
            # The test is of the tested weights alone, whatever epoch it was logged under.
            run.profile(phase, metric, None, layers)
            if phase == "test" and epoch is None
            else run.profile(phase, metric, run.tested_epoch if epoch is None else epoch, layers)
            for run in group.runs
        ]
    )


def draw_by_layer(axes: Axes, view: PlotView, metric: str) -> None:
    """Draw a metric on validation by depth: each group, its untrained network, and the input."""
    layers = view.run_set.layers
    places = np.arange(len(layers))
    levels = np.array([run.value("val", INPUT, metric) for run in view.runs])
    everything = [levels]
    for group, colour in zip(view.groups, group_colours(view.groups).values(), strict=True):
        trained = profiles(group, layers, metric)
        untrained = profiles(group, layers, metric, epoch=0)
        mean_and_spread(axes, places, trained, color=colour, marker="o")
        mean_and_spread(axes, places, mean_of_known(untrained)[None], color=colour, **UNTRAINED)
        everything += [trained.ravel(), untrained.ravel()]
    if np.isfinite(levels).all() and len({run.dataset for run in view.runs}) == 1:
        axes.axhline(levels.mean(), **INPUT_LEVEL)
    set_scale(axes, np.concatenate(everything), bounds(view, metric))
    axes.set_xlim(-0.4, len(layers) - 0.6)
    layer_ticks(axes, layers)


def depth_key(view: PlotView) -> dict[str, Style]:
    """Return the key of what `draw_by_layer` draws."""
    key = group_key(view.groups, marker="o")
    if any(0 in run.log.validation.epochs for run in view.runs):
        key["untrained"] = {"color": "0.4", **UNTRAINED}
    if ("val", INPUT) in {
        (phase, layer) for run in view.runs for phase, layer, _ in run.log.series
    }:
        key["input"] = INPUT_LEVEL
    return key
