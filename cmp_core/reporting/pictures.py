"""The pictures of a report, as parts of the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

from cmp_core.errors import UndefinedError
from cmp_core.plotting.plot import Plot, PlotView
from cmp_core.plotting.render import DRAWING, on_dark_pages, render
from cmp_core.plugins.failures import Failure, failure_of
from cmp_core.plugins.fence import Fence
from cmp_core.runs.replicates import RunSet


class Pictures:
    """Draws what the page shows of some plots, and keeps what they raise.

    Args:
        plots: those that are selected.

    Attributes:
        failures: what plots have raised so far; each costs its own pictures.
    """

    def __init__(self, plots: Sequence[Plot]) -> None:
        self._plots = plots
        self._fence = Fence()
        self.failures: list[Failure] = []

    def of_answer(self, view: PlotView) -> list[str]:
        """Return the pictures of a view's question, each the address of an image."""
        chosen = (plot for plot in self._plots if plot.definition.is_of_questions)
        return [image for plot in chosen for image in self._drawn(plot, view)]

    def of_differences(self, runs: RunSet) -> list[str]:
        """Return the pictures of how experiments differ."""
        chosen = (
            plot
            for plot in self._plots
            if plot.definition.answers and not plot.definition.is_of_questions
        )
        return [image for plot in chosen for image in self._drawn(plot, PlotView(runs))]

    def of_outcome(self, runs: RunSet) -> list[str]:
        """Return the pictures of what came out, the first of each plot, in the order of files."""
        found: list[str] = []
        for plot in sorted(self._plots, key=lambda plot: plot.definition.file):
            if plot.definition.in_report:
                found += self._drawn(plot, next(plot.views(runs)))
        return found

    def _drawn(self, plot: Plot, view: PlotView) -> Iterator[str]:
        try:
            with self._fence.around(plot.label, DRAWING):
                svg = on_dark_pages(render(plot, view, "svg"))
        except UndefinedError:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.failures.append(failure_of(plot.label, "the report", error, "disable"))
            return
        yield f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
