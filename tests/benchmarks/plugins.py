"""What plugins cost before anything runs: `cmp plugins` and `cmp --help` with fifty installed.

`python -m tests.benchmarks.plugins` prints seconds, and ratios to starting Python with click.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from tests.installed import install

INSTALLED = 50
ROUNDS = 9

_PLUGIN = """
from cmp_core import hookimpl, metric

@metric("metric_{i}")
def it(view):
    '''The mean activation.'''
    return view.activations.mean()

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""
_CALLS = {
    "python -c 'import click, pluggy, rich'": ["-c", "import click, pluggy, rich"],
    "cmp plugins": ["-m", "cmp_core", "plugins"],
    "cmp --help": ["-m", "cmp_core", "--help"],
}


def main() -> None:
    """Time the calls in turn and print their medians."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(INSTALLED):
            text = _PLUGIN.format(i=i) if i else "def broken(:\n"
            install(Path(folder), f"plugin_{i}", text)
        environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{Path.cwd()}"}
        times: dict[str, list[float]] = {name: [] for name in _CALLS}
        for _ in range(ROUNDS):
            for name, arguments in _CALLS.items():
                start = perf_counter()
                call = [sys.executable, *arguments]
                subprocess.run(call, env=environment, check=True, stdout=subprocess.DEVNULL)
                times[name].append(perf_counter() - start)
    base = median(next(iter(times.values())))
    print(f"{INSTALLED} installed plugins, one of them broken; medians of {ROUNDS}")
    for name, seconds in times.items():
        print(f"{median(seconds):.2f} s  {median(seconds) / base:.1f}×  {name}")


if __name__ == "__main__":
    main()
