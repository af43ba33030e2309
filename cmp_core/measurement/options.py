"""The options of a metric: their types, and what is checked when a metric is selected."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cmp_core.errors import UsageError, message_of, one_line, unknown

Positive = Annotated[float, "above 0"]
"""The type of an option that must be a number above 0; checked when the metric is selected."""

PositiveInt = Annotated[int, "above 0"]
"""The type of an option that must be a whole number above 0."""


def check_options(
    implementation: Callable[..., Any], options: Mapping[str, Any], where: str
) -> None:
    """Raise `UsageError` where an option is unknown, missing, of another type, or refused.

    Args:
        implementation: a function, whose options are its keyword-only parameters, or a class, whose
            options are the parameters of `__init__`, which may refuse a value itself.
        options: by name.
        where: for the message.
    """
    is_class = inspect.isclass(implementation)
    keyword, either = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    kinds = (keyword, either) if is_class else (keyword,)
    parameters = inspect.signature(implementation).parameters.values()
    known = {p.name: p for p in parameters if p.kind in kinds}
    hints = _hints(implementation.__init__ if is_class else implementation)
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"{where}: {unknown('option', option, known)}")
        if problem := _mistake_in_value(hints.get(option), value):
            raise UsageError(f"{where}: option '{option}': {problem}")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            raise UsageError(f"{where}: option '{name}' has no default; give it")
    if is_class:
        try:
            implementation(**options)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever the code of a plugin raises
            raise UsageError(f"{where}: {message_of(error) or one_line(error)}") from error


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options' types by name, as far as they can be told."""
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # imported for type checkers only
        return {}


def _mistake_in_value(hint: Any, value: Any) -> str | None:
    """Return what is wrong with an option's value, for the types that are plain enough to check."""
    got = f"got {type(value).__name__} {value!r}"
    if get_origin(hint) is Literal and value not in get_args(hint):
        return f"expected one of {', '.join(map(str, get_args(hint)))}, {got}"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is Positive and not (is_number and 0 < value < float("inf")):
        return f"expected a number above 0, {got}"
    if hint is PositiveInt and not (is_number and isinstance(value, int) and value > 0):
        return f"expected a whole number above 0, {got}"
    if hint is float and not is_number:
        return f"expected a number, {got}"
    if hint is int and not (is_number and isinstance(value, int)):
        return f"expected a whole number, {got}"
    if hint in (bool, str) and not isinstance(value, hint):
        return f"expected {'true or false' if hint is bool else 'a text'}, {got}"
    return None
