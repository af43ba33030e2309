"""State that a process has once and that plugins share with the run: what of it is brought back.

It is what numbers, pictures or the ability to stop and resume rest on. A library that is not
imported has none: nothing here imports one, and CUDA is not initialised.
"""

from __future__ import annotations

import gc
import io
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from ctypes import string_at
from functools import cache
from typing import Any

import attrs

from cmp_core.runs.directory import umask


@attrs.frozen
class _Setting:
    """A piece of the state.

    Attributes:
        what: its name in a warning; none of a generator, which anybody may draw from.
        read: returns it.
        write: brings a value of `read` back.
        initial: returns it as importing its library has set it, for plugins that are the first to
            import the library; none where that cannot be told afterwards.
        is_same: whether a value of `read` still holds.
    """

    what: str | None
    read: Callable[[], Any]
    write: Callable[[Any], object]
    initial: Callable[[], Any] | None = None
    is_same: Callable[[Any], bool] = attrs.field(
        default=attrs.Factory(lambda self: lambda before: self.read() == before, takes_self=True)
    )


class GlobalState:
    """The state as it stands when this is made.

    Attributes:
        threads: those that run then.
    """

    def __init__(self) -> None:
        self.threads = threading.enumerate()
        self._libraries = _imported()
        self._before = [(setting, setting.read()) for setting in _settings(self._libraries)]

    def restore(self, *, generators: bool = True) -> list[str]:
        """Bring back what was changed since, and return its names; generators have none.

        Args:
            generators: whether they are brought back too.
        """
        changed: list[str] = []
        for setting, before in (*self._before, *self._initial()):
            if setting.what is None and not generators:
                continue
            if not setting.is_same(before):
                setting.write(before)
                if setting.what is not None:
                    changed.append(setting.what)
        return changed

    def _initial(self) -> Iterable[tuple[_Setting, Any]]:
        """Yield the settings of the libraries that were imported since, as the import set them."""
        for library in _imported():
            if library not in self._libraries:
                for setting in _LIBRARIES[library]():
                    if setting.initial is not None:
                        yield setting, setting.initial()


def _imported() -> tuple[str, ...]:
    return tuple(library for library in _LIBRARIES if library in sys.modules)


@cache
def _settings(libraries: tuple[str, ...]) -> tuple[_Setting, ...]:
    return tuple(setting for library in libraries for setting in _LIBRARIES[library]())


# Python


def _of_python() -> tuple[_Setting, ...]:
    return (
        _Setting("the working directory", _folder, _change_folder),
        _Setting(
            "the warnings filters",
            lambda: tuple(warnings.filters),
            _set_filters,
            is_same=lambda before: _broad(before) == _broad(warnings.filters),
        ),
        _Setting("the handlers of signals", _handlers, _set_handlers),
        _Setting("the alarm timer", _has_alarm, _set_alarm),
        _Setting("the module path", lambda: tuple(sys.path), _set_path, is_same=_on_path),
        _Setting("the hook for exceptions", lambda: sys.excepthook, _set_excepthook),
        _Setting(
            "environment variables",
            lambda: _VARIABLES.copy(),
            _set_variables,
            is_same=lambda before: before.items() <= _VARIABLES.items(),
        ),
        _Setting("the umask", umask, os.umask),
        _Setting("the locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
        _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("the garbage collector", gc.isenabled, _set_collector),
        _Setting("standard output or standard error", _streams, _set_streams, is_same=_are_open),
        _Setting("the configuration of logging", _logging, _set_logging),
        _Setting(None, random.getstate, random.setstate),
    )


def _folder() -> str | None:
    """Return the working directory, or none where it was deleted."""
    try:
        return os.getcwd()  # noqa: PTH109 (ten times as fast as a path)
    except FileNotFoundError:
        return None


def _change_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _has_alarm() -> bool:
    """Return whether a timer will send the signal that ends a program."""
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0


def _set_alarm(is_on: bool) -> None:
    if not is_on:  # one that was switched off cannot be brought back
        signal.setitimer(signal.ITIMER_REAL, 0)


def _set_path(path: tuple[str, ...]) -> None:
    sys.path[:] = path


def _on_path(path: tuple[str, ...]) -> bool:
    """Return whether all of a path is there still; a plugin may add to it."""
    return set(path) <= set(sys.path)


def _set_excepthook(hook: Any) -> None:
    sys.excepthook = hook


def _broad(filters: Iterable[Any]) -> list[Any]:
    """Return the filters that are about everybody's warnings.

    A library adds others, about a message, category or module of its own, when it is imported.
    """
    return [
        (action, category)
        for action, message, category, module, _ in filters
        if message is None and module is None and category.__module__ == "builtins"
    ]


def _set_filters(filters: tuple[Any, ...]) -> None:
    warnings.resetwarnings()  # makes Python forget which warnings the other filters let pass
    warnings.filters[:] = filters  # type: ignore[index]


_VARIABLES: dict[Any, Any] = vars(os.environ)["_data"]
"""The variables as they are kept, which is a hundred times as fast to copy as `os.environ`."""


def _set_variables(before: dict[Any, Any]) -> None:
    """Bring back those that were there; a library may add some when it is imported."""
    decode = os.environ.decodevalue
    for key in [key for key, value in before.items() if _VARIABLES.get(key) != value]:
        os.environ[decode(key)] = decode(before[key])


def _set_locale(before: str) -> None:
    locale.setlocale(locale.LC_ALL, before)


def _set_collector(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()


def _streams() -> tuple[Any, Any]:
    return sys.stdout, sys.stderr


def _are_open(before: tuple[Any, Any]) -> bool:
    return all(
        now is stream and not getattr(stream, "closed", False)
        for now, stream in zip(_streams(), before, strict=True)
    )


def _set_streams(before: tuple[Any, Any]) -> None:
    """Bring the streams back; what was closed is opened again on its file descriptor."""
    sys.stdout, sys.stderr = (
        _opened(stream, number) for number, stream in enumerate(before, start=1)
    )


def _opened(stream: Any, number: int) -> Any:
    is_standard = stream in (sys.__stdout__, sys.__stderr__)
    if not is_standard or not stream.closed:
        return stream
    binary = os.fdopen(number, "wb", closefd=False)
    return io.TextIOWrapper(binary, stream.encoding, "backslashreplace", line_buffering=True)


def _logging() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.manager.disable, root.level, tuple(root.handlers), tuple(root.filters)


def _set_logging(before: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    logging.disable(before[0])
    root.setLevel(before[1])
    root.handlers[:], root.filters[:] = before[2:]


_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGUSR1")
    if hasattr(signal, name)
)


def _handlers() -> tuple[Any, ...]:
    return tuple(map(signal.getsignal, _SIGNALS))


def _set_handlers(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():  # no other thread may set any
        for number, handler in zip(_SIGNALS, handlers, strict=True):
            if handler is not None:  # one that C code has set
                signal.signal(number, handler)


# torch


def _of_torch() -> tuple[_Setting, ...]:
    import torch

    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    return (  # the default device first, because it decides where the tensors of the rest are made
        _Setting(
            "the default device",
            torch.get_default_device,
            _set_default_device,
            lambda: torch.device("cpu"),
        ),
        _Setting(
            "the default dtype",
            torch.get_default_dtype,
            torch.set_default_dtype,
            lambda: torch.float32,
        ),
        # The inference mode before the grad mode, which it sets as well.
        _Setting(
            "the inference mode",
            torch.is_inference_mode_enabled,
            _set_inference_mode,
            lambda: False,
        ),
        _Setting("the grad mode", torch.is_grad_enabled, torch.set_grad_enabled, lambda: True),
        _Setting(
            "autocast",
            _autocast,
            _set_autocast,
            lambda: (0, ("cpu", False, torch.bfloat16), ("cuda", False, torch.float16)),
        ),
        _Setting(
            "anomaly detection",
            torch.is_anomaly_enabled,
            torch.autograd.set_detect_anomaly,
            lambda: False,
        ),
        _Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
        _Setting(
            "deterministic algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1]),
            lambda: (False, False),
        ),
        _Setting("the precision of matrix products", _precision, _set_precision, lambda: "highest"),
        _Setting(
            "cuDNN's flags",
            lambda: (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
            _set_cudnn,
            lambda: (True, False, False),
        ),
        _Setting("oneDNN's flag", lambda: mkldnn.enabled, mkldnn.set_flags, lambda: True),
        _Setting("the flushing of denormal numbers", _flushes, torch.set_flush_denormal),
        _Setting("the hooks of all modules", _module_hooks, _set_module_hooks, lambda: _NO_HOOKS),
        _Setting(None, _torch_generators, _set_torch_generators),
    )


_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)
"""Of every module, by their names in `torch.nn.modules.module`."""

_NO_HOOKS: tuple[dict[int, Any], ...] = ({},) * len(_HOOKS)


def _module_hooks() -> tuple[dict[int, Any], ...]:
    from torch.nn.modules import module

    return tuple(dict(getattr(module, name)) for name in _HOOKS)


def _set_module_hooks(hooks: tuple[dict[int, Any], ...]) -> None:
    from torch.nn.modules import module

    for name, own in zip(_HOOKS, hooks, strict=True):
        found = getattr(module, name)
        found.clear()
        found.update(own)


def _set_default_device(device: Any) -> None:
    import torch

    # A default of its own slows down every call; no default stands for the CPU too.
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_inference_mode(mode: bool) -> None:
    import torch

    entered = torch.inference_mode(mode)
    entered.__enter__()
    _ENTERED.append(entered)


_ENTERED: list[Any] = []
"""Inference modes that replace what a plugin has left on; it would be back once one is deleted."""


def _autocast() -> tuple[Any, ...]:
    import torch

    torch.autocast_increment_nesting()
    depth = torch.autocast_decrement_nesting()
    return depth, *(
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
    )


def _set_autocast(before: tuple[Any, ...]) -> None:
    import torch

    depth, *kinds = before
    for kind, is_enabled, dtype in kinds:
        torch.set_autocast_enabled(kind, is_enabled)
        torch.set_autocast_dtype(kind, dtype)
    # In a scope that was never left, weights that were cast once would be used for ever.
    while torch.autocast_increment_nesting() <= depth:
        pass
    while torch.autocast_decrement_nesting() > depth:
        pass
    torch.clear_autocast_cache()


def _precision() -> str | None:
    """Return the precision, or none where it was set for single backends.

    PyTorch then refuses to read it.
    """
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _set_precision(precision: str | None) -> None:
    import torch

    if precision is not None:
        torch.set_float32_matmul_precision(precision)


def _set_cudnn(flags: tuple[bool, bool, bool]) -> None:
    from torch.backends import cudnn

    cudnn.enabled, cudnn.benchmark, cudnn.deterministic = flags


def _flushes() -> bool:
    return sys.float_info.min / 2 == 0  # PyTorch cannot be asked; it holds for Python's floats too


def _torch_generators() -> tuple[bytes, ...]:
    """Return the states of the CPU's generator and, of those in use, of the accelerators'."""
    import torch

    states = [torch.get_rng_state()]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states += torch.cuda.get_rng_state_all()
    elif torch.backends.mps.is_available():
        states.append(torch.mps.get_rng_state())
    return tuple(state.numpy().tobytes() for state in states)


def _set_torch_generators(states: tuple[bytes, ...]) -> None:
    import torch

    cpu, *others = (torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in states)
    torch.set_rng_state(cpu)
    if others and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.set_rng_state_all(others)
    elif others:
        torch.mps.set_rng_state(others[0])


# NumPy


def _of_numpy() -> tuple[_Setting, ...]:
    import numpy as np

    return (
        _Setting("NumPy's error handling", np.geterr, lambda before: np.seterr(**before)),
        _Setting(None, _numpy_generator, _set_numpy_generator, is_same=_is_numpy_generator),
    )


@attrs.frozen
class _NumpyState:
    """The state of NumPy's global generator.

    Attributes:
        generator: what makes its bits.
        memory: the state of that, where it is the usual one, as it lies in memory.
        state: all of it; to read this takes a hundred times as long.
    """

    generator: Any
    memory: bytes
    state: Any

    @property
    def is_known_by_memory(self) -> bool:
        """Whether nothing but the memory can change unseen, such as the half of a Gaussian pair."""
        return bool(self.memory) and not self.state["has_gauss"]


_LAST: list[_NumpyState] = []
"""The state as it was last read."""


def _numpy_generator() -> _NumpyState:
    from numpy import random

    generator: Any = random.get_bit_generator()  # type: ignore[attr-defined]
    is_usual = type(generator) is random.MT19937
    memory = string_at(generator.ctypes.state_address, _MT19937_BYTES) if is_usual else b""
    last = _LAST[0] if _LAST else None
    if last is None or not last.is_known_by_memory or memory != last.memory:
        last = _NumpyState(generator, memory, random.get_state(legacy=False))
    elif generator is not last.generator:
        last = attrs.evolve(last, generator=generator)
    _LAST[:] = [last]
    return last


_MT19937_BYTES = 4 * (624 + 1)
"""Its words, and at which of them it stands."""


def _is_numpy_generator(before: _NumpyState) -> bool:
    now = _numpy_generator()
    if now is before:
        return True
    return now.generator is before.generator and _plain(now.state) == _plain(before.state)


def _plain(state: Any) -> Any:
    """Return a generator's state with bytes for its array, as arrays have no `==` of their own."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tobytes() if hasattr(state, "tobytes") else state


def _set_numpy_generator(before: _NumpyState) -> None:
    from numpy import random

    random.set_bit_generator(before.generator)  # type: ignore[attr-defined]
    random.set_state(before.state)


# matplotlib


def _of_matplotlib() -> tuple[_Setting, ...]:
    import matplotlib as mpl

    rc: Any = mpl.rcParams

    def is_same(before: dict[str, Any]) -> bool:
        return dict.__eq__(rc, before | _backend(rc))  # copying them takes twenty times as long

    def write(before: dict[str, Any]) -> None:
        dict.update(rc, {key: value for key, value in before.items() if key != "backend"})

    def read() -> dict[str, Any]:
        return dict(dict.items(rc))

    def initial() -> dict[str, Any]:
        original: Any = mpl.rcParamsOrig
        return dict(dict.items(original))

    return (_Setting("matplotlib's rcParams", read, write, initial, is_same),)


def _backend(rc: Any) -> dict[str, Any]:
    """Return the entry that is filled in when a figure is first made."""
    return {"backend": dict.get(rc, "backend")}


_LIBRARIES: dict[str, Callable[[], tuple[_Setting, ...]]] = {
    "sys": _of_python,
    "torch": _of_torch,
    "numpy": _of_numpy,
    "matplotlib": _of_matplotlib,
}
"""The modules that have such state."""
