"""Plugins that misbehave, as the texts of small files.

`RAISES` fail in a metric and in a hook, `ANSWERS` return something odd, `CHANGES` change what all
share, when they are imported and in hooks.
"""

from __future__ import annotations

from pathlib import Path

RAISING = """
import asyncio, sys
from cmp_core import hookimpl, metric

{before}

def act():
    {act}

@metric("bad_{name}")
def it(view):
    '''Raises.'''
    act()

@hookimpl
def cmp_register_metrics(register):
    register(it)

@hookimpl
def cmp_step_finished(event, run):
    act()
"""

ANSWERING = """
import collections, decimal, fractions, itertools
import numpy as np
import torch
from cmp_core import UndefinedError, hookimpl, metric

{before}

@metric("bad_{name}", {traits})
def it(view):
    '''Answers something odd.'''
    return {value}

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""

CHANGING = """
import gc, locale, logging, os, random, signal, sys, threading, warnings
import matplotlib
import numpy as np
import torch
from cmp_core import hookimpl

KEPT = []

def act(event=None, run=None):
    {act}

act()

@hookimpl
def cmp_run_started(event, run):
    act(event, run)

@hookimpl
def cmp_step_finished(event, run):
    act(event, run)

@hookimpl
def cmp_epoch_finished(event, run):
    act(event, run)
"""

_CLASS = "class Bad(Exception):\n    def {method}(self):\n        {body}"


def _class(method: str, body: str) -> tuple[str, str]:
    return _CLASS.format(method=method, body=body), "raise Bad('x')"


RAISES: dict[str, tuple[str, str]] = {
    "str_raises": _class("__str__", "raise ValueError('no text')"),
    "str_raises_itself": _class("__str__", "raise self"),
    "str_returns_bytes": _class("__str__", "return b'x'"),
    "str_exits": _class("__str__", "sys.exit(0)"),
    "repr_raises": _class("__repr__", "raise ValueError('no text')"),
    "attributes_raise": (
        "class Bad(Exception):\n    def __getattribute__(self, name):\n        raise ValueError",
        "raise Bad('x')",
    ),
    "cause_without_end": (
        "class Bad(Exception):\n    @property\n    def __cause__(self):\n        return Bad()",
        "raise Bad('x')",
    ),
    "surrogate": ("", r"raise ValueError('\ud800')"),
    "nul": ("", r"raise ValueError('a\0b')"),
    "escape": ("", r"raise ValueError('\x1b[2J\x1b]0;title\x07\x9b31m')"),
    "bidi": ("", r"raise ValueError('\u202eabc')"),
    "carriage_return": ("", r"raise ValueError('a\rwarning: forged')"),
    "long": ("", "raise ValueError('x' * 10**7)"),
    "many_lines": ("", r"raise ValueError('x\n' * 10**6)"),
    "str_of_a_class": (
        "class Text(str):\n    def strip(self, *_):\n        raise SystemExit(0)\n"
        "class Bad(Exception):\n    def __str__(self):\n        return Text('x')",
        "raise Bad",
    ),
    "cyclic_cause": (
        "def cyclic():\n    a, b = ValueError('a'), ValueError('b')\n"
        "    a.__cause__, b.__cause__ = b, a\n    return a",
        "raise cyclic()",
    ),
    "long_chain": (
        "def chain():\n    error = ValueError('0')\n    for i in range(1000):\n"
        "        further = ValueError(str(i))\n        further.__cause__ = error\n"
        "        error = further\n    return error",
        "raise chain()",
    ),
    "group": ("", "raise ExceptionGroup('many', [ValueError(i) for i in range(10**4)])"),
    "deep_group": (
        "def deep():\n    error = ValueError('0')\n    for _ in range(500):\n"
        "        error = ExceptionGroup('deep', [error])\n    return error",
        "raise deep()",
    ),
    "recursion": ("", "act()"),
    "made_at_run_time": ("", r"raise type('a\n\x1b[1m' + 'b' * 10**6, (Exception,), {})('x')"),
    "metaclass": (
        "class Meta(type):\n    @property\n    def __name__(cls):\n        raise SystemExit(0)\n"
        "class Bad(Exception, metaclass=Meta):\n    pass",
        "raise Bad('x')",
    ),
    "cancelled": ("", "raise asyncio.CancelledError"),
    "generator_exit": ("", "raise GeneratorExit"),
    "system_exit": ("", "raise SystemExit(0)"),
    "own_base": ("class Bad(BaseException):\n    pass", "raise Bad('x')"),
    "base_group": ("", "raise BaseExceptionGroup('many', [GeneratorExit()])"),
    "stop_iteration": ("", "raise StopIteration"),
}

ANSWERS: dict[str, tuple[str, str, str]] = {
    "meta_tensor": ("", "", "torch.ones((), device='meta')"),
    "meta_samples": ("", "split='mean'", "torch.ones(view.n, device='meta')"),
    "meta_vector": ("", "", "torch.ones(3, device='meta')"),
    "sparse": ("", "", "torch.ones(3).to_sparse()"),
    "sparse_samples": ("", "split='mean'", "torch.ones(view.n).to_sparse()"),
    "quantized": ("", "", "torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)"),
    "complex": ("", "", "1j"),
    "complex_tensor": ("", "", "torch.ones((), dtype=torch.complex64)"),
    "matrix": ("", "", "torch.ones(2, 2)"),
    "huge_int": ("", "", "10**400"),
    "decimal": ("", "", "decimal.Decimal(1)"),
    "text": ("", "", "'1.0'"),
    "none": ("", "", "None"),
    "object_array": ("", "", "np.array(None)"),
    "bad_float": ("class Bad(float):\n    def __float__(self):\n        return 'x'", "", "Bad(1)"),
    "raising_float": (
        "class Bad(float):\n    def __float__(self):\n        raise GeneratorExit",
        "",
        "Bad(1)",
    ),
    "raising_repr": (
        "class Bad:\n    def __repr__(self):\n        raise SystemExit(0)",
        "",
        "Bad()",
    ),
    "raising_items": (
        "class Bad(dict):\n    def items(self):\n        raise GeneratorExit",
        "",
        "Bad(a=1)",
    ),
    "endless_items": (
        "class Bad(dict):\n    def items(self):\n"
        "        return ((str(i), 1.0) for i in itertools.count())",
        "",
        "Bad(a=1)",
    ),
    "endless_samples": (
        "class Bad(dict):\n    def items(self):\n"
        "        return ((str(i), torch.ones(1)) for i in itertools.count())",
        "split='mean'",
        "Bad(a=1)",
    ),
    "generator": ("", "", "(x for x in itertools.count())"),
    "empty": ("", "", "{}"),
    "many_names": ("", "", "dict.fromkeys(map(str, range(10**6)), 1.0)"),
    "long_name": ("", "", "{'x' * 10**7: 1.0}"),
    "long_vector": ("", "", "torch.ones(10**7)"),
    "newline_in_name": ("", "", r"{'a\nb': 1.0}"),
    "escape_in_name": ("", "", r"{'\x1b[2J': 1.0}"),
    "surrogate_in_name": ("", "", r"{'\ud800': 1.0}"),
    "slash_in_name": ("", "", "{'../../a': 1.0}"),
    "number_as_name": ("", "", "{1: 1.0}"),
    "names_of_a_class": (
        "class Name(str):\n    __hash__ = object.__hash__\n"
        "    def __eq__(self, other):\n        return self is other",
        "",
        "{Name('a'): 1.0, Name('a'): 2.0}",
    ),
    "long_reason": (
        "def undefined():\n    raise UndefinedError('x' * 10**7)",
        "",
        "undefined()",
    ),
}
"""Code before the metric, further traits, and what it returns; `long_reason` is a reason alone."""

SANE: dict[str, tuple[str, str, float | None]] = {
    "fraction": ("", "fractions.Fraction(1, 4)", 0.25),
    "bool": ("", "True", 1.0),
    "long_double": ("", "np.longdouble(0.25)", 0.25),
    "requires_grad": ("", "torch.full((), 0.25, requires_grad=True)", 0.25),
    "parameter": ("", "torch.nn.Parameter(torch.full((), 0.25))", 0.25),
    "nan_payload": ("", "np.frombuffer(b'\\x01\\0\\0\\0\\0\\0\\xf8\\x7f')[0]", None),
    "infinity": ("", "float('-inf')", None),
    "tensor_class": (
        "class Own(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, function, types, args=(), kwargs=None):\n"
        "        if function.__name__ in ('stack', 'cat', 'tolist', 'item'):\n"
        "            raise GeneratorExit\n"
        "        return super().__torch_function__(function, types, args, kwargs or {})",
        "torch.ones(()).as_subclass(Own)",
        1.0,
    ),
}
"""Code before the metric, a value that is odd and can be had, and what the log then holds; none: no
finite number."""

CHANGES: dict[str, tuple[str, str]] = {
    "folder": ("os.chdir('/')", "the working directory"),
    "variable": ("os.environ['PATH'] = 'x'", "environment variables"),
    "no_variables": ("os.environ.clear()", "environment variables"),
    "umask": ("os.umask(0o777)", "the umask"),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "the locale"),
    "handler": ("signal.signal(signal.SIGINT, signal.SIG_IGN)", "the handlers of signals"),
    "recursion": ("sys.setrecursionlimit(150)", "the recursion limit"),
    "stdout": ("sys.stdout = __import__('io').StringIO()", "standard output or standard error"),
    "no_stderr": ("sys.stderr = None", "standard output or standard error"),
    "logging": (
        "logging.disable(); logging.getLogger().setLevel(1)",
        "the configuration of logging",
    ),
    "filters": ("warnings.simplefilter('ignore', ResourceWarning)", "the warnings filters"),
    "dtype": ("torch.set_default_dtype(torch.float64)", "the default dtype"),
    "device": ("torch.set_default_device('meta')", "the default device"),
    "grad": ("torch.set_grad_enabled(not torch.is_grad_enabled())", "the grad mode"),
    "inference": (
        "KEPT.append(torch.inference_mode()); KEPT[-1].__enter__()",
        "the inference mode",
    ),
    "threads": ("torch.set_num_threads(torch.get_num_threads() + 1)", "the number of threads"),
    "deterministic": ("torch.use_deterministic_algorithms(True)", "deterministic algorithms"),
    "numpy_errors": ("np.seterr(all='raise')", "NumPy's error handling"),
    "style": ("matplotlib.rcParams['font.size'] = 77", "matplotlib's rcParams"),
}
"""What is changed, and the name of it in the warning."""

WRITES: dict[str, str] = {
    "event": "[object.__setattr__(event, x, 7) for x in ('epoch', 'step') if event]",
    "rows": "[object.__setattr__(r, 'value', 7) for r in getattr(event, 'rows', ())]",
}
"""What is written into an event in spite of it being frozen."""

UNNOTICED: dict[str, str] = {
    "seeds": "torch.manual_seed(0); np.random.seed(0); random.seed(0)",
    "run": "run and object.__setattr__(run, 'directory', None)",
    "config": "run and object.__setattr__(run.config, 'epochs', 1)",
    "layer_names": "run and object.__setattr__(run, 'layer_names', ('x',))",
    "unregisters": (
        "import pluggy; [m.unregister(p) for m in gc.get_objects() "
        "if event and type(m) is pluggy.PluginManager for p in m.get_plugins()]"
    ),
}
"""What reaches nobody else, and is not told."""


def write(folder: Path, texts: dict[str, str]) -> tuple[str, ...]:
    """Write plugins as files, and return their paths."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return tuple(str(folder / f"{name}.py") for name in texts)


def raising() -> dict[str, str]:
    """The plugins that raise, by name."""
    return {
        name: RAISING.format(name=name, before=before, act=act)
        for name, (before, act) in RAISES.items()
    }


def answering() -> dict[str, str]:
    """The plugins that answer something odd, by name."""
    sane = {name: (before, "", value) for name, (before, value, _) in SANE.items()}
    whole = ANSWERS | sane
    return {
        name: ANSWERING.format(name=name, before=before, traits=traits, value=value)
        for name, (before, traits, value) in whole.items()
    }


def changing() -> dict[str, str]:
    """The plugins that change what all share, by name."""
    acts = {name: act for name, (act, _) in CHANGES.items()} | WRITES | UNNOTICED
    return {f"changes_{name}": CHANGING.format(act=act) for name, act in acts.items()}
