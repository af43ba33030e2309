"""Tests of `cmp_core.training.device`, on machines with and without a GPU."""

from __future__ import annotations

import pytest
import torch

from cmp_core.config.schema import Config
from cmp_core.errors import ConfigError
from cmp_core.training.device import choose_device, threads


@pytest.fixture(params=[(0, False), (2, False), (0, True), (1, True)])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, bool]:
    """A machine with so many CUDA devices, and with MPS or not."""
    gpus, has_mps = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: has_mps)
    return gpus, has_mps


def test_auto_takes_cuda_then_mps_then_the_cpu(machine: tuple[int, bool]) -> None:
    gpus, has_mps = machine
    expected = "cuda" if gpus else "mps" if has_mps else "cpu"
    assert choose_device(Config(device="auto")) == torch.device(expected)


@pytest.mark.parametrize("wanted", ["cpu", "mps", "cuda", "cuda:0", "cuda:1"])
def test_a_device_is_taken_as_named_or_told_to_be_missing(
    machine: tuple[int, bool], wanted: str
) -> None:
    gpus, has_mps = machine
    there = {"cpu": True, "mps": has_mps, "cuda": gpus > 0, "cuda:0": gpus > 0, "cuda:1": gpus > 1}
    if there[wanted]:
        assert choose_device(Config(device=wanted)) == torch.device(wanted)
        return
    with pytest.raises(ConfigError, match=f"device: this machine has no device '{wanted}'"):
        choose_device(Config(device=wanted))


def test_mixed_precision_is_for_cuda(machine: tuple[int, bool]) -> None:
    if machine[0]:
        assert choose_device(Config(amp=True)).type == "cuda"
    with pytest.raises(ConfigError, match="amp: expected a CUDA device, got cpu"):
        choose_device(Config(device="cpu", amp=True))


@pytest.mark.parametrize("number", [0, -1, 1025, 2**31, 2**63, 10**30, "2", None, 1.0])
def test_a_number_of_threads_that_nobody_means_changes_nothing(number: object) -> None:
    before = torch.get_num_threads()
    with threads(number):
        assert torch.get_num_threads() == before
