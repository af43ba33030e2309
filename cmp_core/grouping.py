"""What is measured together: a layer or a pair by itself, or several for a vectorized metric."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import attrs

from cmp_core.errors import UndefinedError
from cmp_core.layer_view import LayerView, StackedView
from cmp_core.metric_contract import Metric

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
    """Cells that are measured by one call.

    Attributes:
        name: of the layers.
        n: number of samples.
        places: of every cell.
    """

    name: str
    n: int
    places: Sequence[tuple[Place, ...]]
    _views: tuple[LayerView, ...] | UndefinedError

    @property
    def views(self) -> tuple[LayerView, ...]:
        """What the metric takes.

        Raises:
            UndefinedError: something that the metric needs is not there.
        """
        if isinstance(self._views, UndefinedError):
            raise self._views
        return self._views


def grouped(metric: Metric, cells: Iterable[Cell]) -> list[Group]:
    """Return the cells in groups: of equal widths for a vectorized metric, else one by one."""
    together: dict[Hashable, list[tuple[Cell, tuple[LayerView, ...]]]] = {}
    groups = []
    for cell in cells:
        try:
            views = cell.views(metric)
        except UndefinedError as error:
            groups.append(Group(cell.view.name, cell.view.n, [cell.places], error))
            continue
        if metric.definition.vectorized:
            key = tuple(view.widths(metric.definition.neighbour) for view in views)
            together.setdefault(key, []).append((cell, views))
        else:
            groups.append(Group(cell.view.name, cell.view.n, [cell.places], views))
    for members in together.values():
        alike, all_views = zip(*members, strict=True)
        stacked = tuple(map(StackedView, zip(*all_views, strict=True)))
        groups.append(Group(stacked[-1].name, stacked[-1].n, [c.places for c in alike], stacked))
    return groups
