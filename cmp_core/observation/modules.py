"""Which modules of a model are observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from cmp_core.errors import UsageError, unknown

Modules = str | Sequence[str] | Callable[[str, nn.Module], bool]
"""Paths or patterns of paths, or a function of path and module that says which."""


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside `DataParallel`, `DistributedDataParallel` and `torch.compile`.

    So its modules have the same names as without them.

    Raises:
        UsageError: it is no module, or one of TorchScript.

    >>> unwrapped(nn.DataParallel(nn.Linear(2, 1)))
    Linear(in_features=2, out_features=1, bias=True)
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise UsageError(
            "model: expected a module in Python, got one of TorchScript, whose hooks see no "
            "keyword arguments; give the model as it was before torch.jit.script or torch.jit.trace"
        )
    return model


def chosen_modules(model: nn.Module, layers: Modules) -> dict[str, nn.Module]:
    """Return the chosen modules of a model by path, in the order of `named_modules`.

    Args:
        model: may be wrapped, see `unwrapped`.
        layers: a path such as `encoder.0`, a pattern, several, or a function of path and module. In
            a pattern `*` stands for anything within one part of a path, `**` for any parts.

    Raises:
        UsageError: nothing is chosen by one of them, or they are no paths.

    >>> model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))
    >>> list(chosen_modules(model, "*")), list(chosen_modules(model, ["0", "1.*"]))
    (['0', '1'], ['0', '1.0', '1.1'])
    >>> list(chosen_modules(model, lambda path, module: isinstance(module, nn.Linear)))
    ['0', '1.1']
    """
    known = {path: module for path, module in unwrapped(model).named_modules() if path}
    if isinstance(layers, nn.Module):
        raise _no_paths(layers)
    if callable(layers):
        chosen = {path for path, module in known.items() if layers(path, module)}
        if not chosen:
            raise UsageError("layers: the function chooses none of the model's modules")
    else:
        patterns = [layers] if isinstance(layers, str) else layers
        if not isinstance(patterns, Iterable):
            raise _no_paths(layers)
        chosen = {
            path
            for pattern in patterns
            for path in matching("layers", "module", pattern, list(known))
        }
        if not chosen:
            raise _no_paths(layers)
    return {path: module for path, module in known.items() if path in chosen}


def matching(argument: str, kind: str, pattern: object, paths: Sequence[str]) -> list[str]:
    """Return the paths of which a pattern is one.

    Args:
        argument, kind: what the pattern was given as, and for what, which errors tell.
        pattern: see `chosen_modules`.
        paths: of which some are to fit.

    Raises:
        UsageError: none fits.

    >>> matching("layers", "module", "encoder.*", ["stem", "encoder.0", "encoder.1"])
    ['encoder.0', 'encoder.1']
    """
    if not isinstance(pattern, str):
        raise _no_paths(pattern, argument)
    parts = pattern.split(".")
    found = [path for path in paths if _matches(path.split("."), parts)]
    if not found:
        raise UsageError(f"{argument}: {unknown(kind, pattern, paths)}")
    return found


def _no_paths(given: object, argument: str = "layers") -> UsageError:
    is_module = isinstance(given, nn.Module)
    got = f"a module, {type(given).__name__}; give its path in the model" if is_module else given
    return UsageError(
        f"{argument}: expected paths of modules, such as 'encoder.0' or 'encoder.*', got {got}"
    )


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
