"""Loss and accuracy over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmp_core import Curve, PlotView, plot
from cmp_plots._lines import mean_and_spread
from cmp_plots._scales import set_scale
from cmp_plots._style import context, group_colours, panels, require, title, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@plot("training_curves", file="basic_training_curves")
def training_curves(view: PlotView) -> Figure:
    """Loss and accuracy of the output layer by epoch, in training and validation.

    Training values are means over the epoch's batches, taken while the weights change; validation
    is measured after it.
    """
    figure, grid = panels(2, size=(4.4, 3.4))
    key: dict[str, dict[str, Any]] = {}
    drawn: list[list[Floats]] = [[], []]
    for group, colour in zip(view.groups, group_colours(view.groups).values(), strict=True):
        for phase, dashes in (("training", "--"), ("validation", "-")):
            name = f"{group.label}, {phase}" if len(view.groups) > 1 else phase
            key[name] = {"color": colour, "linestyle": dashes, "marker": "."}
            epochs, loss, acc = _by_epoch([getattr(run.log, phase) for run in group.runs])
            for axes, values, all_values in zip(grid, (loss, acc), drawn, strict=True):
                mean_and_spread(axes, epochs, values, **key[name])
                all_values.append(values.ravel())
    losses, shares = map(np.concatenate, drawn)
    require(np.isfinite([*losses, *shares]).any(), "no loss and no accuracy in the log")
    set_scale(grid[0], losses)
    set_scale(grid[1], shares, (0, 1))
    grid[0].set(xlabel="epoch", ylabel="loss (nats)", title="loss")
    grid[1].set(xlabel="epoch", ylabel="accuracy (fraction)", title="accuracy")
    for axes in grid:
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
