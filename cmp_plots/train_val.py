"""A metric on the training subset beside validation: where a layer overfits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, ReplicateGroup, plot
from cmp_plots._lines import mean_and_spread, over_time
from cmp_plots._scales import share_scale
from cmp_plots._style import (
    bounds,
    context,
    layer_colours,
    layer_key,
    metric_label,
    panel_title,
    panels,
    require,
    title,
    unit,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


@plot("train_val", file="train_val_comparison_{metric}")
def train_val(view: PlotView) -> Figure:
    """A metric on the training subset, on validation, and the gap between them, by layer and epoch.

    Both are measured in eval mode at the end of the epoch, on as many samples. A row per
    experiment, of which the mean over the runs and their range are shown; those that have the
    metric on one scale share an axis.
    """
    shown = [(group, layers) for group in view.groups if (layers := _layers(view, group))]
    require(shown, f"no value of {view.metric} on both training and validation")
    every = [layer for layer in view.run_set.layers if any(layer in kept for _, kept in shown)]
    colours = layer_colours(every)
    figure, grid = panels(3 * len(shown), columns=3, size=(3.4, 2.9))
    averaged = any(run.log.averages_batches for run in view.runs)
    heads = ["training batches (mean)" if averaged else "training subset", "validation"]
    rows = {group.label: grid[3 * i : 3 * i + 3] for i, (group, _) in enumerate(shown)}
    everything: dict[str, list[Floats]] = {label: [] for label in rows}
    for group, layers in shown:
        trained, validated, gap = rows[group.label]
        for layer in layers:
            epochs, train, train_errors = over_time(group.runs, "train", layer, view.metric)
            val_epochs, val, val_errors = over_time(group.runs, "val", layer, view.metric)
            common, first, second = np.intersect1d(epochs, val_epochs, return_indices=True)
            mean_and_spread(trained, epochs, train, train_errors, color=colours[layer])
            mean_and_spread(validated, val_epochs, val, val_errors, color=colours[layer])
            mean_and_spread(gap, common, train[:, first] - val[:, second], color=colours[layer])
            everything[group.label] += [train.ravel(), val.ravel()]
        gap.axhline(0, color="0.5", linewidth=0.8)
        for axes, head in zip(
            (trained, validated, gap), [*heads, "training − validation"], strict=True
        ):
            name = f"{group.label}: " if len(view.groups) > 1 else ""
            panel_title(axes, f"{name}{head}", 2.5)
            axes.set_xlabel("epoch")
            whole_ticks(axes)
    for part in view.run_set.on_one_scale(view.metric):
        labels = [group.label for group in part if group.label in rows]
        if labels:
            values = np.concatenate([x for label in labels for x in everything[label]])
            compared = [axes for label in labels for axes in rows[label][:2]]
            scale = share_scale(compared, values, bounds(view, view.metric))
            for label in labels:
                rows[label][0].set_ylabel(metric_label(view, view.metric, scale, 2.2))
    for _, _, gap in rows.values():
        gap.set_ylabel(unit(view, view.metric))
    what = f"{view.metric} in training and validation"
    title(figure, what, context(view), layer_key(every))
    return figure


def _layers(view: PlotView, group: ReplicateGroup) -> list[str]:
    """Return the layers that have values in both."""
    return [
        layer
        for layer in view.run_set.layers
        if all(
            any((phase, layer, view.metric) in run.log.series for run in group.runs)
            for phase in ("train", "val")
        )
    ]
