"""Tests of `cmp_core.plugins.global_state`: what plugins share with the run."""

from __future__ import annotations

import gc
import io
import locale
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import style
from torch.nn.modules.module import register_module_forward_hook

from cmp_core.plugins.global_state import GlobalState

ENTERED: list[object] = []
"""Scopes that are never left."""


def enter(scope: object) -> None:
    scope.__enter__()  # type: ignore[attr-defined]
    ENTERED.append(scope)


CHANGES: dict[str, Callable[[], object]] = {
    "the working directory": lambda: os.chdir("/"),
    "the warnings filters": lambda: warnings.simplefilter("ignore"),
    "the handlers of signals": lambda: signal.signal(signal.SIGINT, lambda *_: None),
    "environment variables": lambda: os.environ.pop("PATH"),
    "the alarm timer": lambda: signal.setitimer(signal.ITIMER_REAL, 60),
    "the module path": lambda: sys.path.clear(),
    "the hook for exceptions": lambda: setattr(sys, "excepthook", None),
    "the hooks of all modules": lambda: register_module_forward_hook(lambda *_: None),
    "the umask": lambda: os.umask(0o777),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "the garbage collector": lambda: gc.disable(),
    "standard output or standard error": lambda: setattr(sys, "stdout", io.StringIO()),
    "the configuration of logging": lambda: logging.disable(),
    "the default device": lambda: torch.set_default_device("meta"),
    "the default dtype": lambda: torch.set_default_dtype(torch.float64),
    "the inference mode": lambda: enter(torch.inference_mode()),
    "the grad mode": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: enter(torch.autocast("cpu")),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "the number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "the precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "cuDNN's flags": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "oneDNN's flag": lambda: torch.backends.mkldnn.set_flags(False),
    "the flushing of denormal numbers": lambda: torch.set_flush_denormal(True),
    "NumPy's error handling": lambda: np.seterr(all="ignore"),
    "matplotlib's rcParams": lambda: style.use("dark_background"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_and_brought_back(what: str) -> None:
    state = GlobalState()
    CHANGES[what]()
    assert state.restore() == [what]
    assert GlobalState().restore() == state.restore() == []


def test_all_changes_together_are_brought_back() -> None:
    state = GlobalState()
    for change in CHANGES.values():
        change()
    assert set(state.restore()) >= set(CHANGES) - {"the grad mode"}  # the inference mode sets it
    assert state.restore() == []
    assert torch.is_grad_enabled()
    assert torch.zeros(()).device.type == "cpu"


DRAWS: dict[str, Callable[[], object]] = {
    "torch": lambda: torch.rand(3),
    "torch seed": lambda: torch.manual_seed(1),
    "NumPy": lambda: np.random.rand(),
    "NumPy, half of a pair": lambda: np.random.randn(),
    "NumPy seed": lambda: np.random.seed(1),
    "NumPy generator": lambda: np.random.set_bit_generator(np.random.PCG64(1)),
    "random": random.random,
    "random seed": lambda: random.seed(1),
}


def drawn() -> list[float]:
    return [torch.rand(()).item(), np.random.randn(), np.random.rand(), random.random()]


@pytest.mark.parametrize("how", DRAWS)
@pytest.mark.parametrize("is_odd", [False, True])
def test_a_generator_is_brought_back_without_a_word(how: str, is_odd: bool) -> None:
    np.random.randn(1 + is_odd)
    state = GlobalState()
    DRAWS[how]()
    assert state.restore() == []
    first = drawn()
    state.restore()
    assert drawn() == first


def test_a_directory_that_was_deleted_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    before = Path.cwd()
    os.chdir(folder)
    folder.rmdir()
    state = GlobalState()
    os.chdir(before)
    assert state.restore() == ["the working directory"]
    assert Path.cwd() == before


def test_nothing_is_imported_for_it_and_a_style_set_with_the_import_is_brought_back() -> None:
    script = """
import sys
from cmp_core.plugins.global_state import GlobalState
state = GlobalState()
assert not {"torch", "numpy", "matplotlib"} & set(sys.modules)
import matplotlib
import matplotlib.pyplot
before = matplotlib.rcParams["font.size"]
matplotlib.rcParams["font.size"] = 33
assert state.restore() == ["matplotlib's rcParams"]
assert matplotlib.rcParams["font.size"] == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_variables_that_a_library_adds_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    state = GlobalState()
    monkeypatch.setenv("ADDED_BY_A_LIBRARY", "1")
    assert state.restore() == []
    assert os.environ["ADDED_BY_A_LIBRARY"] == "1"


FIRST_TO_IMPORT = """
from cmp_core.plugins.fence import Fence
with Fence().around("a", "loading"):
    import torch
    {act}
print(torch.zeros(()).dtype, torch.zeros(()).device, torch.is_grad_enabled())
"""


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("pass", ""),
        ("torch.set_default_dtype(torch.float64)", "the default dtype"),
        ("torch.set_default_device('meta')", "the default device"),
        ("torch.set_grad_enabled(False)", "the grad mode"),
    ],
)
def test_what_the_first_to_import_torch_changes_is_told(act: str, told: str) -> None:
    program = [sys.executable, "-c", FIRST_TO_IMPORT.format(act=act)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "torch.float32 cpu True\n"
    expected = f"warning: plugin a changed {told} in loading; it was put back\n" if told else ""
    assert done.stderr == expected


def test_a_closed_stream_is_opened_again() -> None:
    program = (
        "import sys\nfrom cmp_core.plugins.fence import Fence\n"
        "with Fence().around('a', 'loading'):\n    sys.stdout.close(); sys.stderr.close()\n"
        "print('still here')\nprint('here too', file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "still here\n"
    assert "here too" in done.stderr
