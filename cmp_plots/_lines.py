"""Values of replicates as lines: over time and over depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cmp_core import PlotView, ReplicateGroup, RunRecord
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    INTERVAL,
    RANGE,
    Shown,
    Style,
    bounds,
    group_colours,
    group_key,
    layer_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
INPUT = "input"
"""Name under which the network's input is measured like a layer."""
UNTRAINED: Style = {"linestyle": ":", "linewidth": 1.2, "markerfacecolor": "none"}
NORMAL = 1.96
"""Half of a 95 % interval, in standard errors over many samples."""
INPUT_LEVEL: Style = {"color": "0.5", "linestyle": "--", "linewidth": 1}


def mean_and_spread(
    axes: Axes,
    x: ArrayLike,
    values: Floats,
    errors: Floats | None = None,
    *,
    breaks: bool = False,
    **style: Any,
) -> None:
    """Draw the mean of values (runs, k) over x (k,).

    For several runs with their range as a band, for one with 95 % intervals where it has errors;
    `title` names both in the key. The line goes on over places without a value, unless it breaks
    there.
    """
    present = np.isfinite(values).any(axis=0)
    if not present.any():
        return
    places = slice(None) if breaks else present
    at, kept = np.asarray(x)[places], values[:, places]
    if present.sum() == 1:
        style = {"marker": "o", **style}  # a line through one point cannot be seen
    (line,) = axes.plot(at, mean_of_known(kept), **style)
    colour = line.get_color()
    if len(values) > 1:
        low, high = np.fmin.reduce(kept), np.fmax.reduce(kept)
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0, label=RANGE)
    elif errors is not None:
        error_bars(axes, at, kept[0], NORMAL * errors[0, places], colour)


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
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return times (k,), the values of the runs at a layer (runs, k) and their standard errors.

    NaN where there are none.
    """
    found = [run.log.series.get((phase, layer, metric)) for run in runs]
    times = np.unique(np.concatenate([getattr(series, time) for series in found if series] or [[]]))
    values, errors = (np.full((len(runs), len(times)), np.nan) for _ in range(2))
    for row, series in enumerate(found):
        if series is not None:
            places = np.searchsorted(times, getattr(series, time))
            values[row, places], errors[row, places] = series.values, series.errors
    return times, values, errors


def samples_over_time(
    run: RunRecord, phase: str, layer: str, metric: str, steps: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return how many samples a run's value at each step (k,) rests on, 0 where not known."""
    counts = np.zeros(len(steps), dtype=np.int64)
    series = run.log.series.get((phase, layer, metric))
    if series is not None:
        counts[np.searchsorted(steps, series.steps)] = series.n
    return counts


def profiles(
    group: ReplicateGroup,
    layers: Sequence[str],
    metric: str,
    phase: str = "val",
    epoch: int | None = None,
    what: Literal["values", "errors"] = "values",
) -> Floats:
    """Return a metric at all layers (runs, L) at an epoch, by default at the tested weights.

    NaN at layers that a run has not.
    """
    values = np.full((len(group.runs), len(layers)), np.nan)
    for row, run in zip(values, group.runs, strict=True):
        # The test is of the tested weights alone, whatever epoch it was logged under.
        tested = None if phase == "test" else run.tested_epoch
        for place, layer in enumerate(layers):
            series = run.log.series.get((phase, layer, metric))
            if series is not None:
                row[place] = series.at(tested if epoch is None else epoch, what)
    return values


def draw_by_layer(axes: Axes, view: PlotView, metric: str, groups: Sequence[ReplicateGroup]) -> str:
    """Draw a metric by depth: each group with 95 % intervals, its untrained network, the input.

    The input is drawn where it is on the scale of the layers, see `input_level`. Returns the name
    of the axis' scale.
    """
    layers = view.run_set.layers
    colours = group_colours(view.groups)
    everything = []
    for group in groups:
        colour = colours[group.label]
        middle, half = estimates(view, group, metric)
        untrained, _ = estimates(view, group, metric, "untrained")
        known = np.flatnonzero(np.isfinite(middle))
        axes.plot(known, middle[known], color=colour, marker="o")
        error_bars(axes, known, middle[known], half[known], colour)
        mean_and_spread(axes, np.arange(len(layers)), untrained[None], color=colour, **UNTRAINED)
        everything += [middle, untrained]
    level = input_level(view, groups, metric)
    if level is not None:
        axes.axhline(level, **INPUT_LEVEL)
        everything.append(np.array([level]))
    scale = set_scale(axes, np.concatenate(everything), bounds(view, metric))
    axes.set_xlim(-0.4, len(layers) - 0.6)
    layer_ticks(axes, layers)
    return scale


def input_level(view: PlotView, groups: Sequence[ReplicateGroup], metric: str) -> float | None:
    """Return the value at the input, the mean over the groups, none where it is no reference.

    It is one if the metric is on one scale in all models: the input has other units and, for
    scores, other anchors than a layer. All groups must have it, and of inputs of one kind.
    """
    runs = [run for group in groups for run in group.runs]
    info = [run.metric_info_of(metric) for run in runs]
    if not all(one is not None and one.comparable for one in info):
        return None
    if len({(run.dataset, str(run.config.get("image_size"))) for run in runs}) > 1:
        return None
    found = [view.estimate(group, metric, INPUT) for group in groups]
    levels = np.array([np.nan if one is None else one.effect for one in found])
    return float(levels.mean()) if np.isfinite(levels).all() else None


def estimates(
    view: PlotView,
    group: ReplicateGroup,
    metric: str,
    weights: Literal["tested", "untrained"] = "tested",
) -> tuple[Floats, Floats]:
    """Return a metric at all layers (L,), NaN where there is none, and half its 95 % interval."""
    found = [view.estimate(group, metric, layer, weights) for layer in view.run_set.layers]
    pairs = [(np.nan, np.nan) if one is None else (one.effect, one.half_width) for one in found]
    return tuple(np.array(pairs).T)


def error_bars(axes: Axes, x: ArrayLike, middle: Floats, half: Floats, colour: Any) -> None:
    """Draw 95 % intervals as bars, where there are any.

    Args:
        axes: where to.
        x, middle: (k,).
        half: how far they reach, (k,), or (2, k) downwards and upwards; NaN where there is none.
        colour: of the bars.
    """
    known = np.isfinite(np.atleast_2d(half)).all(axis=0)
    if known.any():
        at, around, bars = np.asarray(x)[known], middle[known], half[..., known]
        axes.errorbar(at, around, bars, fmt="none", ecolor=colour, capsize=2, label=INTERVAL)


def depth_key(view: PlotView, shown: Sequence[Shown]) -> dict[str, Style]:
    """Return the key of what `draw_by_layer` draws of some panels."""
    key = group_key(view.groups, marker="o")
    if any(0 in run.log.validation.epochs for run in view.runs):
        key["untrained"] = {"color": "0.5", **UNTRAINED}
    if any(input_level(view, groups, metric) is not None for metric, groups, _ in shown):
        key["input"] = INPUT_LEVEL
    return key
