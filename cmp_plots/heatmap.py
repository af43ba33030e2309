"""A metric by layer and time, or by layer and run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import (
    context,
    draw_heatmap,
    layer_ticks,
    metric_label,
    require,
    single,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plot("heatmap", file="heatmap_{metric}_{phase}")
def heatmap(view: PlotView) -> Figure:
    """A metric by layer and epoch; for several runs by layer and run, at the tested weights.

    Empty cells have no value: the layer is not there, or the metric is not defined at it.
    """
    several = len(view.runs) > 1
    columns, values = _by_run(view) if several else _by_epoch(view)
    layers = view.run_set.layers
    present = np.isfinite(values).any(axis=1)
    require(bool(present.any()), f"no value of {view.metric} in {view.phase}")
    kept = [layer for layer, there in zip(layers, present, strict=True) if there]
    width = float(np.clip(0.5 * len(columns) + 2.5, 5.5, 12.0))
    figure, ax = single(width, max(2.4, 0.34 * len(kept) + 1.2))
    draw_heatmap(ax, values[present], view, metric_label(view.runs, view.metric))
    layer_ticks(ax, kept, vertical=True)
    _name_columns(ax, columns, several)
    ax.set(ylabel="layer", xlabel="" if several else "epoch (0: untrained)")
    how = "run" if several else "epoch"
    title(figure, f"{view.metric} by layer and {how}", context(view, view.phase))
    return figure


def _by_epoch(view: PlotView) -> tuple[list[str], NDArray[np.float64]]:
    epochs, values = view.run.grid(view.phase, view.metric)
    return [str(epoch) for epoch in epochs], values


def _by_run(view: PlotView) -> tuple[list[str], NDArray[np.float64]]:
    layers = view.run_set.layers
    profiles = [run.profile(view.phase, view.metric, run.tested_epoch, layers) for run in view.runs]
    return list(view.run_set.names), np.stack(profiles, axis=1)


def _name_columns(ax: Axes, columns: list[str], several: bool) -> None:
    step = -(-len(columns) // 20)
    places = list(range(0, len(columns), step))
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if several else {}
    ax.set_xticks(places, [columns[i] for i in places], **turned)


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(heatmap)
