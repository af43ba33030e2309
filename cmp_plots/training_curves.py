"""Loss and accuracy over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import Curve, PlotView, Register, hookimpl, plot
from cmp_plots._style import context, group_colours, mean_and_spread, panels, title, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plot("training_curves", file="basic_training_curves")
def training_curves(view: PlotView) -> Figure:
    """Loss and accuracy of the output layer by epoch, in training and validation.

    Training values are means over the epoch's batches, taken while the weights change; validation
    is measured after it.
    """
    figure, (loss, accuracy) = panels(2, size=(4.6, 3.4))
    colours = group_colours(view.groups)
    for group in view.groups:
        name = f"{group.label}, " if len(view.groups) > 1 else ""
        trained = [_by_epoch(run.log.training) for run in group.runs]
        validated = [_by_epoch(run.log.validation) for run in group.runs]
        colour = colours[group.label]
        for axes, column in ((loss, 1), (accuracy, 2)):
            style = {"color": colour, "marker": "."}
            _draw(axes, trained, column, label=f"{name}training", linestyle="--", **style)
            _draw(axes, validated, column, label=f"{name}validation", **style)
    loss.set(xlabel="epoch", ylabel="loss (nats)", title="loss")
    accuracy.set(xlabel="epoch", ylabel="accuracy (fraction)", title="accuracy")
    for axes in (loss, accuracy):
        whole_ticks(axes)
    loss.legend()
    title(figure, "Training", context(view))
    return figure


def _by_epoch(curve: Curve) -> NDArray[np.float64]:
    """Return epochs, and the means of loss and accuracy over each, (3, k)."""
    epochs = np.unique(curve.epochs)
    means = [
        [_mean(values[curve.epochs == epoch]) for epoch in epochs]
        for values in (curve.loss, curve.acc)
    ]
    return np.array([epochs, *means], dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _draw(axes: Axes, runs: list[NDArray[np.float64]], column: int, **style: object) -> None:
    epochs = np.unique(np.concatenate([run[0] for run in runs]))
    values = np.full((len(runs), len(epochs)), np.nan)
    for row, run in zip(values, runs, strict=True):
        row[np.searchsorted(epochs, run[0])] = run[column]
    mean_and_spread(axes, epochs, values, **style)


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(training_curves)
