"""Which classes the network takes for which."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import Group, PlotView, Register, hookimpl, plot
from cmp_plots._style import context, panels, require, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 20
"""With more classes than this the cells hold no numbers."""


@plot("confusion", file="confusion_matrix{normalized}")
def confusion(view: PlotView) -> Figure:
    """Counts of true and predicted classes on the test split, or shares of each true class.

    Replicates are summed. Right predictions are on the diagonal; shares are of a row, so each row
    adds up to 1.
    """
    shown = [(group, counts) for group in view.groups if (counts := _counts(group)) is not None]
    require(bool(shown), "no run was tested: there is no confusion matrix")
    classes = max(len(counts) for _, counts in shown)
    side = float(np.clip(0.42 * classes + 1.2, 4.0, 9.0))
    figure, axes = panels(len(shown), columns=2, size=(side + 0.8, side))
    for ax, (group, counts) in zip(axes, shown, strict=True):
        _draw(ax, counts, group.runs[0].class_names, view.normalized)
        if len(shown) > 1:
            ax.set_title(group.label)
    what = "share of the true class" if view.normalized else "count"
    title(figure, f"Confusion on the test split ({what})", context(view))
    return figure


def _counts(group: Group) -> NDArray[np.int64] | None:
    """Return the sum over a group's runs that were tested on as many classes as its first."""
    matrices = [run.confusion for run in group.runs]
    there = [counts for counts in matrices if counts is not None]
    return sum(c for c in there if c.shape == there[0].shape) if there else None  # type: ignore


def _draw(ax: Axes, counts: NDArray[np.int64], names: tuple[str, ...], normalized: bool) -> None:
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    # Errors are few beside the diagonal: a square root lets them be seen.
    image = ax.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    ax.grid(visible=False)
    step = math.ceil(len(names) / 40)
    places = range(0, len(names), step)
    labels = [names[i] for i in places]
    long = max(map(len, labels), default=0) > 2
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if long else {}
    ax.set_xticks(list(places), labels, **turned)
    ax.set_yticks(list(places), labels)
    ax.set(xlabel="predicted class", ylabel="true class")
    if len(counts) <= _MOST_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                text = f"{shares[row, column]:.2f}" if normalized else str(count)
                colour = "white" if shares[row, column] > 0.35 else "black"
                ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, label="share of the true class")
    ticks = [0, 0.01, 0.05, 0.2, 0.5, 1]
    bar.set_ticks([math.sqrt(tick) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(confusion)
