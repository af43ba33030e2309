"""Which modules of a model are observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from cmp_core.errors import UsageError, unknown

Modules = str | Sequence[str] | Callable[[str, nn.Module], bool]
"""Paths or patterns of paths, or a function of path and module that says which."""


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside `DataParallel`, `DistributedDataParallel` and `torch.compile`.

    So its modules have the same names as without them.

    >>> unwrapped(nn.DataParallel(nn.Linear(2, 1)))
    Linear(in_features=2, out_features=1, bias=True)
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def chosen_modules(model: nn.Module, layers: Modules) -> dict[str, nn.Module]:
    """Return the chosen modules of a model by path, in the order of `named_modules`.

    Args:
        model: may be wrapped, see `unwrapped`.
        layers: a path such as `encoder.0`, a pattern, several, or a function of path and module. In
            a pattern `*` stands for anything within one part of a path, `**` for any parts.

    Raises:
        UsageError: nothing is chosen by one of them.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    >>> list(chosen_modules(model, "*")), list(chosen_modules(model, ["0", "1.*"]))
    (['0', '1'], ['0', '1.0', '1.1'])
    >>> list(chosen_modules(model, lambda path, module: isinstance(module, nn.Linear)))
    ['0', '1.1']
    """
    known = {path: module for path, module in unwrapped(model).named_modules() if path}
    if callable(layers):
        chosen = {path for path, module in known.items() if layers(path, module)}
        if not chosen:
            raise UsageError("layers: the function chooses none of the model's modules")
    else:
        chosen = set()
        for pattern in [layers] if isinstance(layers, str) else layers:
            parts = pattern.split(".")
            found = {path for path in known if _matches(path.split("."), parts)}
            if not found:
                raise UsageError(f"layers: {unknown('module', pattern, list(known))}")
            chosen |= found
    return {path: module for path, module in known.items() if path in chosen}


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
