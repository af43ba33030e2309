"""Tests of sending a plugin's dataset to spawned workers."""

from __future__ import annotations

import multiprocessing
import os
import py_compile
from importlib.util import module_from_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.data.load import load_data
from cmp_core.data.plugin_modules import PluginFile
from cmp_core.plugins.loader import load_plugins

PLUGIN = """
import torch
from torch.utils.data import Dataset
from cmp_core import hookimpl

class Points(Dataset):
    def __len__(self):
        return 30

    def __getitem__(self, index):
        return torch.full((2,), float(index)), index % 3

@hookimpl
def cmp_register_datasets(register):
    register(lambda config: Points(), name="points")
"""


def test_what_was_compiled_earlier_is_not_taken_for_the_file(tmp_path: Path) -> None:
    """Python's own loader does, where time and size agree."""
    path = tmp_path / "mine.py"
    path.write_text("VALUE = 1\n")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    py_compile.compile(str(path))
    path.write_text("VALUE = 2\n")
    os.utime(path, ns=times)
    loader = PluginFile("mine", str(path))
    module = module_from_spec(loader.spec())
    loader.exec_module(module)
    assert module.VALUE == 2
    assert loader.content == b"VALUE = 2\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_find_the_classes_of_a_plugins_file(tmp_path: Path, method: str) -> None:
    path = tmp_path / "points of mine.py"
    path.write_text(PLUGIN)
    registry = load_plugins([str(path)]).registry
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        config = Config(num_workers=1)
        make = registry.get("dataset", "points").factory
        data = load_data(config, lambda: make(config), torch.device("cpu"))
        batch = next(data.test.batches(np.arange(4), 4))
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert batch.inputs[:, 0].tolist() == batch.sample_ids.tolist()
