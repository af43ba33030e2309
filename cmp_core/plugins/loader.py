"""Finding, loading and checking plugins; one `Plugins` per run, no global state."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import pluggy

from cmp_core.data.plugin_modules import PREFIX, PluginFile
from cmp_core.errors import UsageError, one_line, text_of, unknown
from cmp_core.events import hookspecs
from cmp_core.events.hookspecs import DECLARED, PROJECT, REGISTRATIONS, Register
from cmp_core.plugins.discovery import (
    BLOCK,
    BUILT_IN_PACKAGES,
    EXAMPLE,
    allowed,
    built_in_modules,
    check_allowed,
    entry_points,
    example_folder,
    origin_of,
)
from cmp_core.plugins.fence import Fence
from cmp_core.plugins.registry import Registry, declared_in, definition_of
from cmp_core.text import NAME, described, is_name

LOADING = "loading"
"""Stands where changes of global state in an event name its hook."""


@attrs.frozen
class Broken:
    """An installed plugin that cannot be loaded, and what is wrong with it."""

    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.problem}; the plugin is left out"


@attrs.frozen
class Plugins:
    """The plugins of a run.

    Attributes:
        manager: pluggy's manager, with all of them registered.
        registry: what they registered.
        named: names of the plugins that were asked for one by one.
        specs: what loads the same plugins again, from any folder and without a plugins folder.
        broken: installed plugins that were left out because they are broken.
        origins: where each plugin comes from, by name.
        files: what was executed of those that are files, examples among them, by name.
    """

    manager: pluggy.PluginManager
    registry: Registry
    named: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()
    origins: Mapping[str, str] = attrs.field(factory=dict)
    files: Mapping[str, bytes] = attrs.field(factory=dict, repr=False)


def load_plugins(
    specs: Iterable[str] = (),
    plugins_dir: Path | None = None,
    built_ins: Iterable[str] = BUILT_IN_PACKAGES,
    copies: Mapping[str, Path] | None = None,
) -> Plugins:
    """Load built-in plugins, installed ones (entry points), those of a folder, and `specs`.

    Args:
        specs: a module (`package.module`), a file (`my_metric.py`), a shipped example
            (`cmp:dead_units`), the name of an installed plugin, or `no:NAME` to leave one out.
        plugins_dir: a folder each of whose `*.py` files is a plugin.
        built_ins: those of `BUILT_IN_PACKAGES` that are wanted.
        copies: files of a run that are loaded in place of those that specs name, by the spec; they
            were not asked for by name, and so are not among the `named`.

    Raises:
        UsageError: a plugin that was asked for cannot be loaded, or breaks a rule of the hooks.
    """
    specs = list(specs)
    copies = copies or {}
    blocked = {spec.removeprefix(BLOCK) for spec in specs if spec.startswith(BLOCK)}
    loader = _Loader(blocked, copies)
    loader.load_built_ins(built_ins)
    wanted = [spec for spec in specs if not spec.startswith(BLOCK)]
    loader.load_entry_points(wanted)
    if plugins_dir is not None:
        loader.load_folder(plugins_dir)
    names = {spec: loader.load(spec) for spec in wanted}
    named = tuple(dict.fromkeys(names[spec] for spec in wanted if spec not in copies))
    loader.check_blocked()
    return Plugins(
        manager=loader.manager,
        registry=loader.registry,
        named=named,
        specs=tuple(loader.specs),
        broken=tuple(loader.broken),
        origins=loader.origins,
        files=loader.files,
    )


def is_path(spec: str) -> bool:
    """Return whether what `-p` takes is a file, whose plugin is named by the file's stem."""
    return spec.endswith(".py") or "/" in spec


def new_manager() -> pluggy.PluginManager:
    """Return a manager that knows the hooks, and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


class _Loader:
    """Adds plugins to a fresh manager and registry, each under a name of its own."""

    def __init__(self, blocked: set[str], copies: Mapping[str, Path]) -> None:
        self.manager = new_manager()
        self.registry = Registry()
        self.origins: dict[str, str] = {}
        self.specs: list[str] = []
        self.broken: list[Broken] = []
        self.files: dict[str, bytes] = {}
        self._blocked = blocked
        self._copies = copies
        self._left_out: set[str] = set()
        self._fence = Fence()

    def load_built_ins(self, packages: Iterable[str]) -> None:
        for package in packages:
            for module_name, _ in built_in_modules(package):
                name = module_name + BUILT_IN_PACKAGES[package]
                if self._is_blocked(name):
                    self.specs.append(f"{BLOCK}{name}")
                    continue
                origin = f"{package}.{module_name}"
                self._add(importlib.import_module(origin), name, origin)

    def load_entry_points(self, wanted: list[str]) -> None:
        check_allowed()
        for entry in entry_points():
            if self._is_blocked(entry.name):
                self.specs.append(f"{BLOCK}{entry.name}")
            elif allowed(entry) or entry.name in wanted:
                try:
                    with self._fence.around(entry.name, LOADING):
                        self._add(load_entry_point(entry), entry.name, origin_of(entry))
                except UsageError as error:
                    if entry.name in wanted:
                        raise
                    self.broken.append(Broken(entry.name, str(error)))

    def load_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UsageError(f"--plugins-dir: '{folder}' is not a folder")
        for path in sorted(folder.glob("[!_]*.py")):
            if not path.stem.startswith("test_") and not self._is_blocked(path.stem):
                with self._fence.around(path.stem, LOADING):
                    self._load_file(path)

    def load(self, spec: str) -> str:
        """Load what `-p` names and return the plugin's name."""
        with self._fence.around(Path(spec).stem if is_path(spec) else spec, LOADING):
            return self._load(spec)

    def _load(self, spec: str) -> str:
        if spec in self.origins:
            self.specs.append(spec)
            return spec
        if spec in self._copies:
            self.specs.append(spec)
            return self._execute(self._copies[spec])
        if is_path(spec):
            return self._load_file(Path(spec))
        if Path(spec).is_file() and Path(spec).suffix:
            raise UsageError(f"-p {spec}: expected a Python file, whose name ends in .py")
        self.specs.append(spec)
        if spec.startswith(EXAMPLE):
            return self._execute(_example(spec.removeprefix(EXAMPLE)))
        try:
            module = importlib.import_module(spec)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            hint = ""
            if isinstance(error, ModuleNotFoundError) and error.name == spec.partition(".")[0]:
                hint = f". {unknown('plugin', spec, self.origins)}"
            raise UsageError(f"-p {spec}: cannot be imported: {one_line(error)}{hint}") from error
        return self._add(module, spec, f"module {spec}")

    def check_blocked(self) -> None:
        """Raise where `no:NAME` names no plugin."""
        for name in sorted(self._blocked - self._left_out):
            raise UsageError(f"-p no:{name}: {unknown('plugin', name, self.origins)}")

    def _load_file(self, path: Path) -> str:
        if path.is_dir():
            raise UsageError(f"-p {path}: it is a folder; name its files, or use --plugins-dir")
        if not path.is_file():
            raise UsageError(f"-p {path}: there is no such file")
        if str(path.resolve()) not in self.origins.values():
            self.specs.append(str(path.absolute()))
        return self._execute(path)

    def _execute(self, path: Path) -> str:
        name = path.stem
        module_name = PREFIX + name
        if path.suffix != ".py":
            raise UsageError(f"-p {path}: expected a Python file, whose name ends in .py")
        loader = PluginFile(module_name, str(path))
        module = importlib.util.module_from_spec(loader.spec())
        sys.modules[module_name] = module  # so that its classes can be inspected
        try:
            loader.exec_module(module)
        except BaseException as error:
            del sys.modules[module_name]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise UsageError(f"plugin '{path}' could not be loaded: {one_line(error)}") from error
        name = self._add(module, name, str(path.resolve()))
        self.files.setdefault(name, loader.content)  # named twice, the first one is registered
        return name

    def _add(self, plugin: object, name: str, origin: str) -> str:
        """Register a plugin and what it offers, or nothing of it."""
        if self.origins.get(name) == origin:
            return name
        if known := self.manager.get_name(plugin):
            return known  # an installed one that was named by its module as well
        if name in self.origins:
            raise UsageError(f"two plugins are named '{name}': {self.origins[name]} and {origin}")
        try:
            self.manager.register(plugin, name)
            check_hooks(self.manager, plugin)
            _collect(self.manager, plugin, self.registry, name, origin)
        except (pluggy.PluginValidationError, UsageError) as error:
            if self.manager.has_plugin(name):
                self.manager.unregister(plugin)
            self.registry.remove(name)
            raise UsageError(f"{origin}: {text_of(error)}") from error
        self.origins[name] = origin
        return name

    def _is_blocked(self, name: str) -> bool:
        if name in self._blocked:
            self._left_out.add(name)
            return True
        return False


def load_entry_point(entry: metadata.EntryPoint) -> object:
    """Import an installed plugin; raise `UsageError` where that fails."""
    try:
        return entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = (
            f"plugin '{entry.name}' ({origin_of(entry)}) could not be loaded: {one_line(error)}"
        )
        raise UsageError(message) from error


def check_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raise where a hook is misspelt, is a wrapper, or lacks the marker."""
    known = [name for name in vars(hookspecs) if name.startswith("cmp_")]
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name not in known:
            raise UsageError(unknown("hook", caller.name, known))
        for implementation in caller.get_hookimpls():
            is_wrapper = implementation.wrapper or implementation.hookwrapper
            if implementation.plugin is plugin and is_wrapper:
                raise UsageError(f"{caller.name} may not be a hook wrapper")
    for name in known:
        function = getattr(plugin, name, None)
        is_own = getattr(function, "__module__", None) == getattr(plugin, "__name__", "")
        if function is not None and is_own and not hasattr(function, f"{PROJECT}_impl"):
            raise UsageError(f"put @hookimpl above {name}, or it is never called")


_IS_NONE = (
    "it defines nothing under @metric or @plot, and no hook under @hookimpl (what it imports does "
    'not count); a metric is a function under @metric, such as: @metric("mean_norm") above '
    "def mean_norm(view): return view.activations.norm(dim=1).mean()"
)
"""What is said of a module that is no plugin."""


def _collect(
    manager: pluggy.PluginManager, plugin: object, registry: Registry, name: str, origin: str
) -> None:
    """File what the plugin offers of each kind: what its hook registers, or what it declares.

    Raises:
        UsageError: it offers nothing and listens to nothing, or a rule of registration is broken.
    """
    for hook, kind in REGISTRATIONS.items():
        register = _register_as(registry, kind, name, origin)
        hooks = getattr(manager.hook, hook).get_hookimpls()
        own = [implementation for implementation in hooks if implementation.plugin is plugin]
        for implementation in own:
            with _naming(hook):
                implementation.function(register)
        if not own and kind in DECLARED:
            with _naming(f"looking for what is under @{kind}"):
                for factory in declared_in(plugin, kind):
                    register(factory)
    if not (manager.get_hookcallers(plugin) or registry.of(name)):
        raise UsageError(_IS_NONE)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say what has raised an error, where a plugin's code has: objects of it may do so anywhere."""
    try:
        yield
    except (UsageError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(f"{what} raised {one_line(error)}") from error


def _register_as(registry: Registry, kind: str, plugin: str, origin: str) -> Register:
    """Return the closure that files what a plugin registers under the plugin's name."""

    def register(factory: Any, name: str | None = None) -> None:
        if kind in DECLARED:
            name = name or definition_of(factory, kind).name
        if name is None:
            raise UsageError("register(factory, name=…) needs a name")
        if not is_name(name):
            raise UsageError(
                f"register: expected as the name of a {kind} {NAME}, got {described(name)}"
            )
        registry.add(kind, name, factory, plugin, origin)

    return register


def _example(name: str) -> Path:
    folder = example_folder()
    path = folder / f"{name}.py"
    if not path.is_file():
        examples = [example.stem for example in folder.glob("[!_]*.py")]
        raise UsageError(f"-p {EXAMPLE}{name}: {unknown('example plugin', name, examples)}")
    return path
