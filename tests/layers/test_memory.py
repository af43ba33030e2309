"""Tests of `cmp_core.layers.memory`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cmp_core.layers.memory import memory_of

CPU = torch.device("cpu")


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("cmp_core.layers.memory._CGROUP_LIMIT", limit)
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_of(CPU) == whole
    for text, expected in (("max\n", whole), (f"{2**30}\n", 2**30), (f"{2**60}\n", whole)):
        limit.write_text(text)
        assert memory_of(CPU) == expected


def test_a_machine_that_does_not_say_is_taken_for_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("os.sysconf")
    assert memory_of(CPU) <= 8 * 2**30
