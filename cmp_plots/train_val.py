"""A metric on the training subset beside validation: where a layer overfits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    layer_colours,
    layer_key,
    mean_and_spread,
    metric_label,
    over_epochs,
    panels,
    require,
    set_scale,
    title,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("train_val", file="train_val_comparison_{metric}")
def train_val(view: PlotView) -> Figure:
    """A metric on the training subset, on validation, and the gap between them, by layer and epoch.

    Both are measured in eval mode at the end of the epoch, on as many samples. Of several runs of
    one experiment the mean and the range are shown.
    """
    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    layers = [layer for layer in view.run_set.layers if _has(view, layer)]
    require(bool(layers), f"no value of {view.metric} on both training and validation")
    figure, (trained, validated, gap) = panels(3, size=(3.6, 3.2))
    colours = layer_colours(layers)
    everything = []
    for layer in layers:
        epochs, train = over_epochs(group.runs, "train", layer, view.metric)
        val_epochs, val = over_epochs(group.runs, "val", layer, view.metric)
        style = {"color": colours[layer]}
        mean_and_spread(trained, epochs, train, **style)
        mean_and_spread(validated, val_epochs, val, **style)
        common, first, second = np.intersect1d(epochs, val_epochs, return_indices=True)
        mean_and_spread(gap, common, train[:, first] - val[:, second], **style)
        everything += [train.ravel(), val.ravel()]
    for axes in (trained, validated):
        set_scale(axes, view.runs, view.metric, np.concatenate(everything))
    low = min(trained.get_ylim()[0], validated.get_ylim()[0])
    high = max(trained.get_ylim()[1], validated.get_ylim()[1])
    for axes in (trained, validated):
        axes.set_ylim(low, high)
    gap.axhline(0, color="0.5", linewidth=0.8)
    averaged = any(run.log.averages_batches for run in view.runs)
    trained.set(title="training batches (mean)" if averaged else "training subset")
    trained.set_ylabel(metric_label(view.runs, view.metric))
    validated.set(title="validation")
    gap.set(title="training − validation")
    for axes in (trained, validated, gap):
        axes.set_xlabel("epoch")
        whole_ticks(axes)
    layer_key(figure, [trained, validated, gap], layers)
    title(figure, f"{view.metric} in training and validation", context(view))
    return figure


def _has(view: PlotView, layer: str) -> bool:
    return all(
        any(run.series(phase, layer, view.metric) for run in view.runs)
        for phase in ("train", "val")
    )


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(train_val)
