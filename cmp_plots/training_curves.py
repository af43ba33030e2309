"""Loss and accuracy over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import Curve, PlotView, plot
from cmp_plots._lines import mean_and_spread
from cmp_plots._scales import set_scale
from cmp_plots._style import (
    Style,
    context,
    group_colours,
    panel_title,
    panels,
    require,
    title,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@plot("training_curves", file="basic_training_curves", standard=True, in_report=True)
def training_curves(view: PlotView) -> Figure:
    """Loss and accuracy of the output layer by epoch, in training and validation.

    Training values are means over the epoch's batches, taken while the weights change; validation
    is measured after it. Losses of models of another kind are other sums: each kind has its panel.
    """
    kinds = view.run_set.of_one_kind
    figure, grid = panels(len(kinds) + 1, 3, size=(4.4, 3.4))
    key: dict[str, Style] = {}
    colours = group_colours(view.groups)
    drawn: list[list[Floats]] = [[] for _ in grid]
    for place, group in ((place, group) for place, kind in enumerate(kinds) for group in kind):
        for phase, dashes in (("training", "--"), ("validation", "-")):
            name = f"{group.label}, {phase}" if len(view.groups) > 1 else phase
            key[name] = {"color": colours[group.label], "linestyle": dashes, "marker": "."}
            epochs, loss, acc = _by_epoch([getattr(run.log, phase) for run in group.runs])
            for panel, means in ((place, loss), (-1, acc)):
                mean_and_spread(grid[panel], epochs, means, **key[name])
                drawn[panel].append(means.ravel())
    values = [np.concatenate(own) for own in drawn]
    require(np.isfinite(np.concatenate(values)).any(), "no loss and no accuracy in the log")
    for axes, losses, kind in zip(grid, values, kinds, strict=False):
        told = ", ".join(["nats", *filter(None, [set_scale(axes, losses)])])
        whose = f", {', '.join(group.label for group in kind)}" if len(kinds) > 1 else ""
        panel_title(axes, f"loss{whose}", 3.5)
        axes.set_ylabel(f"loss ({told})")
    told = ", ".join(["fraction", *filter(None, [set_scale(grid[-1], values[-1], (0, 1))])])
    panel_title(grid[-1], "accuracy", 3.5)
    grid[-1].set_ylabel(f"accuracy ({told})")
    for axes in grid:
        axes.set_xlabel("epoch")
        whole_ticks(axes)
    title(figure, "Training", context(view), key)
    return figure


def _by_epoch(curves: list[Curve]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return all epochs (k,), and the means over each of loss and of accuracy, (runs, k) both."""
    epochs = np.unique(np.concatenate([curve.epochs for curve in curves]))
    means = [
        [_means(curve.epochs, getattr(curve, name), epochs) for curve in curves]
        for name in ("loss", "acc")
    ]
    return epochs, np.stack(means[0]), np.stack(means[1])


def _means(times: NDArray[np.int64], values: Floats, epochs: NDArray[np.int64]) -> Floats:
    known = np.isfinite(values)
    place = np.searchsorted(epochs, times[known])
    counts = np.bincount(place, minlength=len(epochs))
    totals = np.bincount(place, values[known], minlength=len(epochs))
    return np.asarray(np.where(counts > 0, totals / np.maximum(counts, 1), np.nan))
