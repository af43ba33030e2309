"""What is measured together: a layer or a pair by itself, or several for a vectorized metric."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import attrs

from cmp_core.errors import UndefinedError
from cmp_core.events.view import LayerView, StackedView
from cmp_core.measurement.metric import Metric

Place = tuple[str, str | None, bool]
"""Where a value belongs: the layer, the other one or none, and whether it is one of all pairs."""


@attrs.frozen(eq=False)
class Cell:
    """A layer to measure, or a pair of layers, and where its value belongs.

    Attributes:
        view: of the layer.
        places: two for an entry of a symmetric matrix.
        first: the other layer of a pair where it is not the previous one.
    """

    view: LayerView
    places: tuple[Place, ...]
    first: LayerView | None = None

    def views(self, metric: Metric) -> tuple[LayerView, ...]:
        """Return what the metric takes.

        Raises:
            UndefinedError: something that the metric needs is not there.
        """
        views = metric.views_of(self.view) if self.first is None else (self.first, self.view)
        for view in views:
            metric.check_needs(view)
        return views


@attrs.frozen(eq=False)
class Group:
    """Cells that are measured by one call, which have all that the metric needs.

    Attributes:
        cells: one, or several of a vectorized metric.
        views: what the metric takes.
    """

    cells: Sequence[Cell]
    views: tuple[LayerView, ...]


@attrs.frozen(eq=False)
class Lacking:
    """A cell that lacks something that the metric needs, and what that is."""

    cell: Cell
    reason: str


def grouped(metric: Metric, cells: Iterable[Cell]) -> list[Group | Lacking]:
    """Return the cells in groups: one by one, or for a vectorized metric those of equal widths.

    The widths are those of all layers that the metric's needs reach.
    """
    definition = metric.definition
    together: dict[Hashable, list[tuple[Cell, tuple[LayerView, ...]]]] = {}
    result: list[Group | Lacking] = []
    for cell in cells:
        try:
            views = cell.views(metric)
            if not definition.vectorized:
                result.append(Group([cell], views))
                continue
            key = tuple(
                (view.width, *(reach(view).width for reach in definition.neighbours))
                for view in views
            )
        except UndefinedError as error:
            result.append(Lacking(cell, str(error)))
        else:
            together.setdefault(key, []).append((cell, views))
    for members in together.values():
        alike, all_views = zip(*members, strict=True)
        result.append(Group(alike, tuple(map(StackedView, zip(*all_views, strict=True)))))
    return result
