"""Functions run in several processes that know each other by gloo."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def in_processes(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what a function of a module returns in each process, in order of rank."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(size, context) as pool:
        store = str(Path(folder) / "store")
        futures = [pool.submit(_work, i, size, store, function, arguments) for i in range(size)]
        return [future.result(timeout=120) for future in futures]


def _work(
    rank: int, size: int, store: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=size)
    try:
        return function(*arguments)
    finally:
        dist.destroy_process_group()
