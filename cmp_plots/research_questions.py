"""The three research questions, each with its evidence and its verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cmp_core import PALETTE, QUESTIONS, Answer, PlotView, Register, Witness, hookimpl, plot
from cmp_plots._style import (
    context,
    layer_ticks,
    mean_and_spread,
    panels,
    require,
    set_scale,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plot("research_questions", file="research_questions", answers=True)
def research_questions(view: PlotView) -> Figure:
    """Predictive, compressing, different: the values that bear witness, and the verdicts.

    A row per experiment. Dotted: the untrained network. Of several seeds the mean and the range.
    Values of different units are shown as shares of the first layer's value.
    """
    questions = [view.question] if view.question else list(QUESTIONS)
    answers = [view.answer(group, question) for group in view.groups for question in questions]
    require(
        any(answer.witnesses for answer in answers),
        "no metric that bears witness was measured at two layers or more",
    )
    size = (6.4, 3.4) if view.question else (4.4, 3.4)
    figure, grid = panels(len(answers), columns=len(questions), size=size)
    for index, (axes, answer) in enumerate(zip(grid, answers, strict=True)):
        _draw(axes, answer, view)
        group = view.groups[index // len(questions)]
        name = f"{group.label}: " if len(view.groups) > 1 else ""
        axes.set_title(f"{name}{answer.title}\n{answer.short_verdict}")
    if not view.question:
        title(figure, "The three questions", context(view))
    return figure


def _draw(axes: Axes, answer: Answer, view: PlotView) -> None:
    """Draw the witnesses of an answer: each in a colour, the untrained network dotted."""
    if not answer.witnesses:
        axes.text(0.5, 0.5, "nothing was measured\nthat tells", ha="center", va="center")
        axes.set_axis_off()
        return
    everything = []
    for witness, colour in zip(answer.witnesses, PALETTE, strict=False):
        places = np.arange(len(witness.places))
        trained, untrained = _shown(answer, witness)
        mean_and_spread(axes, places, trained, color=colour, marker="o", label=witness.facts.label)
        everything.append(trained.ravel())
        if untrained is not None:
            mean_and_spread(axes, places, untrained, color=colour, linestyle=":", linewidth=1.2)
            everything.append(untrained.ravel())
    if any(witness.untrained is not None for witness in answer.witnesses):
        axes.plot([], [], color="0.4", linestyle=":", linewidth=1.2, label="untrained")
    if answer.question == "predictive":
        set_scale(axes, view.runs, answer.witnesses[0].facts.label, np.concatenate(everything))
        axes.set_ylabel("held-out accuracy")
    elif answer.question == "compressing":
        _set_shares(axes, np.concatenate(everything))
    else:
        axes.set(ylabel="1 − similarity to neighbour")
        axes.set_ylim(bottom=min(0.0, float(np.concatenate(everything).min())))
    longest = max((w.places for w in answer.witnesses), key=len)
    layer_ticks(axes, _between(longest) if answer.question == "different" else longest)
    axes.set_xlabel("pair of layers" if answer.question == "different" else "layer")
    axes.legend()


def _shown(
    answer: Answer, witness: Witness
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the values as they are drawn, (seeds, places), and those of the untrained network."""
    both = [witness.values, witness.untrained]
    if answer.question == "compressing":
        both = [None if values is None else values / values[:, :1] for values in both]
    elif answer.question == "different":
        both = [None if values is None else 1 - values for values in both]
    assert both[0] is not None
    return both[0], both[1]


def _set_shares(axes: Axes, values: NDArray[np.float64]) -> None:
    """Make the axis one of shares of the first layer: a halving is as far as a doubling."""
    from matplotlib.ticker import NullLocator

    axes.set_yscale("log", base=2)
    low, high = np.floor(np.log2(values.min())), np.ceil(np.log2(values.max()))
    ticks = 2.0 ** np.arange(low, high + 1, max(1, round((high - low) / 6)))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("value / value at the first layer")


def _between(places: tuple[str, ...]) -> list[str]:
    """Return the places of pairs, named by their numbers: neighbours of 0 and 1 are `0–1`."""
    return [f"{i}–{i + 1}" for i in range(len(places))]


@hookimpl
def cmp_register_plots(register: Register) -> None:
    """Register the plot."""
    register(research_questions)
