"""What plugins there are, told from names, metadata and source, without importing any of them."""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

import attrs

from cmp_core.config.load import shipped_folder
from cmp_core.errors import UsageError, one_line, unknown
from cmp_core.events.hookspecs import COMMANDS, DECLARED, REGISTRATIONS

DISTRIBUTION = "chain-of-metric-predictors"
ENTRY_POINTS = "cmp.plugins"
EXAMPLE = "cmp:"
BLOCK = "no:"
ALLOWED = "CMP_PLUGINS"
"""Environment variable that lists the installed plugins to be loaded; empty: none of them."""

BUILT_IN_PACKAGES = {
    "cmp_metrics": "",
    "cmp_plots": "_plot",
    "cmp_core.datasets": "",
    "cmp_core.models": "",
    "cmp_core.learning": "",
}
"""Packages each of whose modules is a plugin, and what their plugins' names append to the module's,
as a metric and a plot may have the same one."""

KINDS = REGISTRATIONS | {COMMANDS: "command"}
EVENTS = "events"
"""Stands for the kind of plugins that listen to events."""


@attrs.frozen
class Listing:
    """A plugin that could be loaded.

    Attributes:
        name: the plugin's name; `cmp:NAME` for an example.
        kinds: what its source registers, and `events` where it listens to any.
        version: of the distribution that it is part of.
        origin: the module, with the distribution of an installed one, or the file.
        state: `built in` and `installed` ones are loaded for every run, an `example` when it is
            named; `left out` is an installed one that `CMP_PLUGINS` does not list; `broken`.
        problem: what is wrong with a broken one, in one line.
    """

    name: str
    kinds: tuple[str, ...]
    version: str
    origin: str
    state: str
    problem: str = ""


def list_plugins() -> list[Listing]:
    """Return all plugins that are built in, installed or shipped as examples."""
    check_allowed()
    return [*_built_ins(), *_installed(), *_examples()]


def entry_points() -> list[metadata.EntryPoint]:
    """Return the entry points of all installed plugins, by name."""
    return sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)


def allowed(entry: metadata.EntryPoint) -> bool:
    """Return whether an installed plugin is loaded unasked."""
    names = _allowed_names()
    return names is None or entry.name in names


def check_allowed() -> None:
    """Raise where `CMP_PLUGINS` names a plugin that is not installed."""
    known = [entry.name for entry in entry_points()]
    for name in sorted((_allowed_names() or set()).difference(known)):
        raise UsageError(f"{ALLOWED}: {unknown('installed plugin', name, known)}")


def adds_commands(entry: metadata.EntryPoint) -> bool:
    """Return whether an installed plugin's source has the hook for commands."""
    try:
        path = _source_of(entry.module)
        return path is not None and KINDS[COMMANDS] in kinds_in(path)
    except (ImportError, OSError, SyntaxError, ValueError):
        return False  # `cmp plugins` tells what is wrong with it


def is_known_here(spec: str) -> bool:
    """Return whether a spec of `load_plugins` names a plugin that anyone may ask for.

    That is a built-in one, an installed one that `CMP_PLUGINS` does not leave out, an example, or
    `no:NAME` of the first two; a path or a module may be code of anyone's.
    """
    names = {entry.name for entry in entry_points() if allowed(entry)}
    for package, suffix in BUILT_IN_PACKAGES.items():
        names |= {f"{name}{suffix}" for name, _ in built_in_modules(package)}
    examples = {f"{EXAMPLE}{path.stem}" for path in example_folder().glob("[!_]*.py")}
    return spec in names | examples or spec.removeprefix(BLOCK) in names


def origin_of(entry: metadata.EntryPoint) -> str:
    """Return where an installed plugin comes from, in words."""
    return f"{entry.value} (installed by {entry.dist.name if entry.dist else 'unknown'})"


def built_in_modules(package: str) -> Iterator[tuple[str, Path]]:
    """Yield name and file of the modules of a package of plugins."""
    spec = importlib.util.find_spec(package)
    for info in pkgutil.iter_modules(spec.submodule_search_locations if spec else None):
        if not info.name.startswith("_"):
            yield info.name, Path(info.module_finder.path) / f"{info.name}.py"  # type: ignore[union-attr]


def example_folder() -> Path:
    """Return the folder of the shipped examples."""
    return shipped_folder("examples", "plugins")


def kinds_in(path: Path) -> tuple[str, ...]:
    """Return what a source file registers.

    That is told by the names of the hooks that it defines or imports, and by the decorators that it
    has of `cmp_core`.

    Raises:
        SyntaxError: it is not Python.
    """
    tree = ast.parse(path.read_bytes(), str(path))
    decorators = _declaring(tree)
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names |= {
                DECLARED[decorators[ast.unparse(decorator.func)]]
                for decorator in node.decorator_list
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) in decorators
            }
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    hooks = {name for name in names if name.startswith("cmp_")}
    listens = any(not name.startswith("cmp_register_") for name in hooks)
    return (*(kind for hook, kind in KINDS.items() if hook in hooks), *([EVENTS] * listens))


def _declaring(tree: ast.Module) -> dict[str, str]:
    """Return the decorators that declare, as a source spells them, and the kind that each declares.

    >>> _declaring(ast.parse("import cmp_core as c; from cmp_core import metric as m"))
    {'c.metric': 'metric', 'c.plot': 'plot', 'm': 'metric'}
    """
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [x.asname or x.name for x in node.names if x.name.startswith(_CORE)]
            found |= {f"{module}.{kind}": kind for module in modules for kind in DECLARED}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_CORE):
            for alias in node.names:
                kinds = DECLARED if alias.name == "*" else {alias.name} & DECLARED.keys()
                found |= {alias.asname or kind: kind for kind in kinds}
    return found


_CORE = "cmp_core"


def _built_ins() -> Iterator[Listing]:
    version = metadata.version(DISTRIBUTION)
    for package, suffix in BUILT_IN_PACKAGES.items():
        for name, path in built_in_modules(package):
            origin = f"{package}.{name}"
            yield Listing(f"{name}{suffix}", kinds_in(path), version, origin, "built in")


def _examples() -> Iterator[Listing]:
    version = metadata.version(DISTRIBUTION)
    for path in sorted(example_folder().glob("[!_]*.py")):
        yield Listing(f"{EXAMPLE}{path.stem}", kinds_in(path), version, str(path), "example")


def _installed() -> Iterator[Listing]:
    for entry in entry_points():
        version = entry.dist.version if entry.dist else ""
        kinds: tuple[str, ...] = ()
        problem = ""
        try:
            path = _source_of(entry.module)
            kinds = kinds_in(path) if path is not None else ()
        except (ImportError, OSError, SyntaxError, ValueError) as error:
            problem = one_line(error)
        state = "broken" if problem else "installed" if allowed(entry) else "left out"
        yield Listing(entry.name, kinds, version, origin_of(entry), state, problem)


def _source_of(module: str) -> Path | None:
    """Return a module's source file, none for a compiled one, without importing its parents.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    for name in below:
        places = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(f"{spec.name}.{name}", places) if spec and places else None
    if spec is None:
        raise ModuleNotFoundError(f"No module named '{module}'")
    is_source = spec.origin is not None and spec.origin.endswith(".py")
    return Path(str(spec.origin)) if is_source else None


def _allowed_names() -> set[str] | None:
    """Return the installed plugins that `CMP_PLUGINS` lists; none: all of them."""
    listed = os.environ.get(ALLOWED)
    return None if listed is None else {name.strip() for name in listed.split(",") if name.strip()}
