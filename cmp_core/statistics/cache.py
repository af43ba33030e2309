"""The cache of statistics, which all metrics share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import attrs
from torch import Tensor

from cmp_core.statistics.guards import Guards

Options = ParamSpec("Options")
Owner = TypeVar("Owner", bound="StatisticsCache")
Value = TypeVar("Value")


class StatisticsCache:
    """Caches what its methods under `@cached` return, and guards the tensors among it.

    Attributes:
        guards: of the tensors computed so far; several caches may share them.
    """

    def __init__(self, guards: Guards | None = None) -> None:
        self.guards = Guards() if guards is None else guards
        self._cache: dict[tuple[Any, ...], Any] = {}


def cached(
    compute: Callable[Concatenate[Owner, Options], Value],
) -> Callable[Concatenate[Owner, Options], Value]:
    """Make a method compute once for each set of arguments, which are its key."""
    name = compute.__name__

    @wraps(compute)
    def get(self: Owner, *args: Options.args, **options: Options.kwargs) -> Value:
        key = (name, *args, *options.items())
        if key not in self._cache:
            value = self._cache[key] = compute(self, *args, **options)
            for tensor in _tensors(value):
                self.guards.add(f"statistics.{name}", tensor)
        return self._cache[key]  # type: ignore[no-any-return]

    return cast("Callable[Concatenate[Owner, Options], Value]", get)


def _tensors(value: object) -> list[Tensor]:
    """Return a tensor itself, or the tensors that are public fields of an attrs value."""
    if isinstance(value, Tensor):
        return [value]
    kind = type(value)
    names = [field.alias for field in attrs.fields(kind)] if attrs.has(kind) else []
    fields = [getattr(value, name, None) for name in names]
    return [field for field in fields if isinstance(field, Tensor)]
