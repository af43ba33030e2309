"""How the variance of each layer falls off over its principal directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmp_core import PlotView, Register, hookimpl, plot
from cmp_plots._style import context, layer_colours, layer_key, panels, require, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plot("eigenspectrum", file="eigenspectrum_{phase}")
def eigenspectrum(view: PlotView) -> Figure:
    """Eigenvalues of each layer's covariance as shares of their sum, untrained and tested weights.

    On logarithmic axes a power law is a straight line. Shares are of the logged eigenvalues, of
    which there may be fewer than the layer has units. Dashed grey: the input. Of several runs of
    one experiment it is the mean.
    """
    (group, *others) = view.groups
    require(not others, "it shows one experiment, and there are several")
    layers = view.run_set.layers
    metrics = dict.fromkeys(
        m for run in group.runs for p, _, m in run.log.vectors if p == view.phase
    )
    require(bool(metrics), f"no vector-valued metric in {view.phase}")
    metric = next(iter(metrics))
    colours = {"input": (0.5, 0.5, 0.5, 1.0), **layer_colours(layers)}
    figure, grid = panels(2, size=(4.4, 3.6), sharex=True, sharey=True)
    for axes, tested in zip(grid, (False, True), strict=True):
        for layer, colour in colours.items():
            spectra = []
            for run in group.runs:
                epoch = run.tested_epoch if tested else 0
                for entry in run.vectors(view.phase, layer, metric):
                    if entry.epoch == epoch and np.nansum(entry.value) > 0:
                        spectra.append(entry.value / np.nansum(entry.value))
            if spectra:
                length = min(map(len, spectra))
                mean = np.mean([spectrum[:length] for spectrum in spectra], axis=0)
                positive = mean > 1e-9
                style = {"linestyle": "--"} if layer == "input" else {}
                axes.plot(np.arange(1, length + 1)[positive], mean[positive], color=colour, **style)
        axes.set(xscale="log", yscale="log", xlabel="index of the eigenvalue")
        axes.set_title("tested weights" if tested else "untrained")
    require(any(axes.lines for axes in grid), f"no {metric} of the tested or untrained weights")
    grid[0].set_ylabel("share of the variance")
    layer_key(figure, grid, layers)
    title(figure, f"{metric} by layer", context(view, view.phase))
    return figure


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(eigenspectrum)
