"""Tests of `cmp_core.training.data_parallel`: several processes train what a single one trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from cmp_core import load_run
from cmp_core.data.splits import Batch
from cmp_core.distributed.processes import ALONE, Processes
from cmp_core.errors import TrainingError
from cmp_core.training.data_parallel import DataParallel
from tests.processes import in_processes

ARGUMENTS = ["--set", "N=24", "--set", "layers=2", "--set", "epochs=1", "--set", "val_size=100"]


class Numbers:
    """A split whose samples are their positions."""

    ids = labels = np.arange(20)

    def batches(self, order: Any, size: int, augment: Any = None) -> Any:
        for start in range(0, len(order), size):
            where = torch.from_numpy(order[start : start + size])
            yield Batch(where.float()[:, None], where % 2, where)


def shares() -> list[tuple[list[int], int, int]]:
    model = nn.Linear(1, 1)
    parallel = DataParallel(Processes.started(), model)
    dist.barrier()  # nothing else waits for processes that are still connecting to this one
    batches = parallel.batches(Numbers(), np.arange(16), 5, torch.Generator())
    return [(batch.sample_ids.tolist(), parallel.own, parallel.n) for batch in batches]


def test_each_sample_of_a_batch_is_in_one_share() -> None:
    first, second, third = in_processes(3, shares)
    assert first == [([0, 3], 2, 5), ([5, 8], 2, 5), ([10, 13], 2, 5), ([15], 1, 1)]
    assert second == [([1, 4], 2, 5), ([6, 9], 2, 5), ([11, 14], 2, 5), ([15], 0, 1)]
    assert third == [([2], 1, 5), ([7], 1, 5), ([12], 1, 5), ([15], 0, 1)]


def test_a_single_process_has_whole_batches() -> None:
    parallel = DataParallel(ALONE, nn.Linear(1, 1))
    batches = parallel.batches(Numbers(), np.arange(7), 5, torch.Generator())
    assert [b.sample_ids.tolist() for b in batches] == [[0, 1, 2, 3, 4], [5, 6]]


def gradients() -> list[list[float]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))
    parallel = DataParallel(Processes.started(), model)
    found = []
    for batch in parallel.batches(Numbers(), np.arange(16), 5, torch.Generator()):
        model.zero_grad()
        loss = (model(batch.inputs / 10) - 1).square().mean()
        (loss / 4).backward(retain_graph=True)  # gradients add up over two backward passes
        (loss * 3 / 4).backward()
        mean = parallel.mean(loss.detach()[None])
        parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append(torch.cat([mean, *parts]).tolist())
    return found


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_are_those_of_whole_batches(size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1))
    expected = []
    for rows in torch.arange(16).split(5):
        loss = (model(rows.float()[:, None] / 10) - 1).square().mean()
        own = torch.autograd.grad(loss, list(model.parameters()))
        expected.append([loss.item(), *torch.cat([g.flatten() for g in own]).tolist()])
    for found in in_processes(size, gradients):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def unlike() -> str:
    model = nn.Linear(2, 2)
    processes = Processes.started()
    parallel = DataParallel(processes, model)
    with torch.no_grad():
        model.weight.fill_(0.5)
        model.bias.zero_()
    parallel.check_weights()
    with torch.no_grad():
        model.bias += processes.rank
    with pytest.raises(TrainingError) as caught:
        parallel.check_weights()
    return str(caught.value)


def test_weights_that_differ_are_told_in_all_processes() -> None:
    for told in in_processes(2, unlike):
        assert told.startswith(
            "the weights of the processes differ: the learning rule or the model"
        )


def cmp(out: Path, processes: int, *arguments: str) -> Path:
    """Run a command under torchrun, or without; return the newest run."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    start = [] if processes == 1 else torchrun
    call = [sys.executable, *start, "-m", "cmp_core", *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():  # each once, whatever the number of processes
        assert not line.startswith("epoch") or done.stdout.count(line) == 1
    return newest(out)


def newest(out: Path) -> Path:
    return max(path.parent for path in out.rglob("params.yaml"))


def numbers(value: Any) -> Any:
    """What a line of the log holds, but for its time."""
    if isinstance(value, dict):
        return {name: numbers(own) for name, own in value.items() if name != "timestamp"}
    if isinstance(value, list):
        return [numbers(own) for own in value]
    return pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_torchrun_trains_and_measures_what_one_process_does(tmp_path: Path, model: str) -> None:
    runs = {}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        options = [*ARGUMENTS, "--set", f"out={out}", "-p", "cmp:neural_collapse"]
        run = cmp(out, processes, "train", "-c", f"{model}_digits", *options)
        runs[processes] = cmp(out, processes, "eval", str(run))
    one, two = (
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        for run in runs.values()
    )
    assert len(one) == len(two)
    for own, other in zip(one, two, strict=True):
        assert own.keys() == other.keys()
        assert numbers(own) == {k: v for k, v in other.items() if k != "timestamp"}
    weights = [torch.load(run / "best.pt")["model"] for run in runs.values()]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-4, atol=1e-5)
    names = [sorted(path.name for path in run.rglob("*")) for run in runs.values()]
    assert names[0] == names[1]
    tests = [json.loads((run / "test_results.json").read_text()) for run in runs.values()]
    assert numbers(tests[0]) == tests[1]
    predictions = [load_run(run).predictions for run in runs.values()]
    assert predictions[0] is not None
    assert predictions[1] is not None
    for column, values in predictions[0].items():
        np.testing.assert_array_equal(values, predictions[1][column])


def test_torchrun_resumes_what_one_process_has_begun(tmp_path: Path) -> None:
    options = [*ARGUMENTS, "--set", "epochs=2", "--metrics", "accuracy", "--no-snapshots"]
    whole = cmp(tmp_path / "whole", 1, "train", *options, "--set", f"out={tmp_path / 'whole'}")
    stop = (
        "from cmp_core.training.trainer import Trainer\n"
        "from cmp_core.__main__ import main\n"
        "before = Trainer._train_step\n"
        "def step(self, batch):\n"
        "    before(self, batch)\n"
        "    self._interruption.count = int(self.progress.step == 30)\n"
        "Trainer._train_step = step\n"
        "main()\n"
    )
    out = tmp_path / "stopped"
    call = [sys.executable, "-c", stop, "train", *options, "--set", f"out={out}"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 130, done.stderr
    run = cmp(out, 2, "train", "--resume", str(newest(out)))
    logs = [(x / "log.jsonl").read_text().splitlines() for x in (whole, run)]
    assert len(logs[0]) == len(logs[1])
    for own, other in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert numbers(own) == {k: v for k, v in other.items() if k != "timestamp"}
