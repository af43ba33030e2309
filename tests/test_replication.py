"""Tests of `cmp_core.replication`: several seeds, each trained by a process of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmp_core import replication
from cmp_core.config.load import load_config
from cmp_core.config.schema import Config, Snapshots
from cmp_core.errors import ConfigError
from cmp_core.replication import Replicate, Training, begin_replicates, jobs_for
from cmp_core.runs.directory import run_directories
from tests.small_runs import small


class FakeProcess:
    """A process that ends at its third poll with what `ENDS` says of its seed, or at a signal."""

    made: list[FakeProcess]
    ends: dict[int, int]

    def __init__(self, one: Replicate, options: list[str]) -> None:
        self.one, self.options, self.polls, self.signals = one, options, 0, list[int]()
        self.made.append(self)
        self.at_once = sum(process.polls < 3 for process in self.made)

    def poll(self) -> int | None:
        self.polls += 1
        if self.signals:
            return 130 if self.polls > 5 else None
        if self.polls < 3:
            return None
        code = self.ends.get(self.one.config.seed, 0)
        if code in (0, 3):
            (self.one.directory / "status.json").write_text('{"state": "finished", "epoch": 1}')
            (self.one.directory / "test_results.json").write_text('{"acc": 0.5}')
        return code

    def said(self) -> str:
        return "error: no luck\n"

    def send_signal(self, number: int) -> None:
        self.signals.append(number)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeProcess]:
    FakeProcess.made, FakeProcess.ends = [], {}
    monkeypatch.setattr(replication, "_Process", FakeProcess)
    monkeypatch.setattr(replication, "_POLL_SECONDS", 0.0)
    return FakeProcess


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    return run_directories(begin_replicates(small(tmp_path), [0, 1, 2, 10]))


def test_a_folder_of_runs_that_differ_by_seed_alone(tmp_path: Path) -> None:
    folder = begin_replicates(small(tmp_path, val_size=40), [10, 2])
    assert folder.name.startswith("0001_")
    assert folder.name.endswith("_seeds")
    assert [path.name for path in run_directories(folder)] == ["seed_2", "seed_10"]
    configs = [load_config(path / "params.yaml") for path in run_directories(folder)]
    assert [config.seed for config in configs] == [2, 10]
    assert [config.val_size for config in configs] == [40, 40]
    assert [path.name for path in (folder / "seed_2").iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("given", "phase"), [(Snapshots(), "test"), (Snapshots(phase="train"), "train"), (None, None)]
)
def test_the_samples_that_all_seeds_share_are_stored(
    tmp_path: Path, given: Snapshots | None, phase: str | None
) -> None:
    (directory,) = run_directories(begin_replicates(small(tmp_path, snapshots=given), [0]))
    snapshots = load_config(directory / "params.yaml").snapshots
    assert (snapshots and snapshots.phase) == phase


def test_jobs_share_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "cpu_count", lambda: 8)
    assert jobs_for(small(tmp_path, threads=3)) == 2
    assert jobs_for(small(tmp_path, threads=16)) == 1
    assert jobs_for(small(tmp_path)) == 8
    assert threads_of(begin_replicates(small(tmp_path), [0], jobs=4)) == 1
    assert threads_of(begin_replicates(small(tmp_path, threads=3), [0], jobs=4)) == 3
    monkeypatch.setattr("cmp_core.preparation.choose_threads", lambda _: 8)
    assert threads_of(begin_replicates(small(tmp_path), [0])) == 8
    assert threads_of(begin_replicates(small(tmp_path), [0], jobs=3)) == 2
    assert threads_of(begin_replicates(small(tmp_path), [0], jobs=30)) == 1


def threads_of(folder: Path) -> Any:
    return load_config(folder / "seed_0" / "params.yaml").threads


def test_what_is_wrong_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown model"):
        begin_replicates(small(tmp_path / "out", model="gredy"), [0, 1])
    assert not (tmp_path / "out").exists()


def test_some_are_trained_at_once_until_all_have_ended(
    directories: list[Path], fake: type[FakeProcess]
) -> None:
    with Training(directories, 2, ["--allow-changes"]) as training:
        seen = list(training.progress())
    assert {one.state for one in training.replicates} == {"finished"}
    assert set(seen) == set(training.replicates)
    assert [process.one.config.seed for process in fake.made] == [0, 1, 2, 10]
    assert max(process.at_once for process in fake.made) == 2
    assert fake.made[0].options == ["--allow-changes"]
    assert [one.test_acc for one in training.replicates] == [0.5] * 4


def test_those_that_are_finished_are_left_alone_and_those_that_fail_cost_themselves(
    directories: list[Path], fake: type[FakeProcess]
) -> None:
    fake.ends = {1: 1, 2: 130, 10: 3}
    with Training(directories, 4) as training:
        list(training.progress())
    states = [one.state for one in training.replicates]
    assert states == ["finished", "failed", "interrupted", "finished"]
    assert training.replicates[1].said == "error: no luck\n"
    fake.ends, fake.made[:] = {}, []
    with Training(directories, 4) as again:
        list(again.progress())
    assert [process.one.config.seed for process in fake.made] == [1, 2]
    assert {one.state for one in again.replicates} == {"finished"}


def test_an_interruption_reaches_those_that_run_and_waits_for_them(
    directories: list[Path], fake: type[FakeProcess]
) -> None:
    training = Training(directories, 2)

    def train() -> None:
        with training:
            for _ in training.progress():
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        train()
    assert [process.signals for process in fake.made] == [[signal.SIGINT]] * 2
    states = [one.state for one in training.replicates]
    assert states == ["interrupted", "interrupted", "waiting", "waiting"]


@pytest.mark.parametrize(
    "content", ["", "{}", '{"state": "finished", "epoch": "x", "val_acc": []}', "[1", '"a"']
)
def test_a_status_of_nonsense_is_that_of_a_run_that_waits(
    directories: list[Path], content: str
) -> None:
    (directories[0] / "status.json").write_text(content)
    one = Replicate.of(directories[0])
    assert (one.state, one.epoch, one.val_acc, one.test_acc) == ("waiting", 0, None, None)


def test_a_replicate_is_the_run_that_would_be_trained_alone(
    tmp_path: Path, finished: Callable[[Config], Path]
) -> None:
    (directory,) = run_directories(begin_replicates(small(tmp_path / "several"), [3]))
    with Training([directory], 1) as training:
        list(training.progress())
    (one,) = training.replicates
    assert (one.state, one.said, one.exit_code) == ("finished", "", 0)
    alone = finished(small(tmp_path / "alone", seed=3, snapshots=Snapshots(phase="test")))
    told, expected = (
        json.loads((path / "test_results.json").read_text()) for path in (directory, alone)
    )
    assert told == expected
    assert one.test_acc == expected["acc"]
    assert (directory / "best.pt").is_file()


@pytest.fixture
def finished() -> Callable[[Config], Path]:
    from cmp_core import run

    return lambda config: Path(run(config).directory)
