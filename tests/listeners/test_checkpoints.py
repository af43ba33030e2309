"""Tests of `cmp_core.listeners.checkpoints`, by runs that die."""

from __future__ import annotations

import errno
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import numpy as np
import pytest
import torch

from cmp_core import evaluate, hookimpl, resume, run
from cmp_core.config.schema import Config
from cmp_core.errors import TrainingError, UsageError
from cmp_core.listeners.checkpoints import CheckpointWriter, load_checkpoint
from cmp_core.training.trainer import Trainer
from cmp_core.workflow import Outcome
from tests.interruption import CutError, interrupt
from tests.run_files import lines, newest
from tests.small_runs import small


def test_a_killed_run_resumes_from_its_last_checkpoint(
    tiny: Config, tiny_run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer._train_step

    def die(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == 14:
            raise CutError

    monkeypatch.setattr(Trainer, "_train_step", die)
    with pytest.raises(CutError):
        run(tiny)
    monkeypatch.undo()
    directory = newest(Path(tiny.out) / "digits" / "greedy")
    with (directory / "log.jsonl").open("a") as log:
        log.write('{"phase": "train", "epo')  # the line that was being written
    resume(directory)
    assert lines(directory) == lines(tiny_run().directory)


@pytest.mark.parametrize("step", [1, 7, 11, 12, 17])
def test_checkpoints_by_time_lose_no_step_of_an_epoch(
    tiny: Config, tiny_run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """With a moment between two of them each step is saved; an epoch has 11."""
    original = Trainer._train_step
    made: list[int] = []

    def die(self: Trainer, batch: Any) -> None:
        made.append(self.progress.step + 1)
        if self.progress.step == step:
            raise CutError
        original(self, batch)

    monkeypatch.setattr(Trainer, "_train_step", die)
    with pytest.raises(CutError):
        run(attrs.evolve(tiny, checkpoint_minutes=1e-9))
    monkeypatch.setattr(Trainer, "_train_step", original)
    directory = newest(Path(tiny.out) / "digits" / "greedy")
    saved = load_checkpoint(directory / "last.pt", torch.device("cpu"))
    assert saved["progress"]["step"] == step == len(made) - 1
    assert resume(directory).results == tiny_run().results
    assert lines(directory) == lines(tiny_run().directory)


def test_within_the_minutes_nothing_is_saved_in_an_epoch(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[str] = []
    monkeypatch.setattr(CheckpointWriter, "_save", lambda _, name, __: saved.append(name))
    run(attrs.evolve(tiny, epochs=1, metrics=(), snapshots=None))
    assert saved == ["best.pt", "last.pt"]


def test_a_run_killed_between_log_and_checkpoint_loses_no_line(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is on the disk before the checkpoint that has its lines behind it."""
    saved: list[int] = []
    original = CheckpointWriter.cmp_epoch_finished

    def look(self: CheckpointWriter, event: Any, run: Any) -> None:
        entry = json.loads((self._folder / "log.jsonl").read_text().splitlines()[-1])
        assert (entry["phase"], entry["epoch"]) == ("val", event.epoch)
        saved.append(event.epoch)
        original(self, event, run)

    monkeypatch.setattr(CheckpointWriter, "cmp_epoch_finished", hookimpl(look))
    run(tiny)
    assert saved == [0, 1, 2]


def test_last_pt_is_saved_when_it_is_its_turn_and_at_the_end(
    tiny: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[str, int]] = []
    original = CheckpointWriter._save

    def save(self: CheckpointWriter, name: str, state: dict[str, Any]) -> None:
        epoch = state["epoch"] if name == "best.pt" else state["progress"]["epoch"]
        saved.append((name, epoch))
        original(self, name, state)

    monkeypatch.setattr(CheckpointWriter, "_save", save)
    run(attrs.evolve(tiny, epochs=5, checkpoint_every=2, metrics=(), snapshots=None))
    assert [epoch for name, epoch in saved if name == "last.pt"] == [2, 4, 5]
    assert saved[0] == ("best.pt", 1)


class _Attack:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_checkpoint_is_executed() -> None:
    torch.save({"model": _Attack()}, "attack.pt")
    with pytest.raises(UsageError, match=r"'attack\.pt' is not a checkpoint that can be read"):
        load_checkpoint(Path("attack.pt"), torch.device("cpu"))
    assert not Path("executed").exists()


@pytest.fixture
def _full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checkpoints end at 5,000 bytes, as a full disk or a quota ends them."""
    original = torch.save

    class Full(io.RawIOBase):
        """A file with room for some bytes."""

        def __init__(self, file: BinaryIO) -> None:
            self._file = file

        def write(self, data: Any) -> int:
            if self._file.tell() + len(data) > 5000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(data)

    monkeypatch.setattr(torch, "save", lambda state, file: original(state, Full(file)))


def assert_told(directory: Path, name: str, message: str) -> None:
    """A run has ended with one sentence, and says so itself."""
    assert message == (
        f"'{directory / name}' could not be saved: No space left on device; what was saved before "
        f"is whole. Make room, then go on with: cmp run --resume {directory}"
    )
    status = json.loads((directory / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", f"TrainingError: {message}")
    assert {path.name for path in directory.glob(".*")} <= {".training.lock"}


@pytest.mark.usefixtures("_full_disk")
def test_a_full_disk_ends_the_run_with_a_sentence(
    tiny: Config, tiny_run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError) as told:
        run(tiny)
    directory = newest(Path(tiny.out) / "digits" / "greedy")
    assert_told(directory, "best.pt", str(told.value))
    monkeypatch.undo()
    resume(directory)
    assert lines(directory) == lines(tiny_run().directory)


def test_a_full_disk_leaves_the_checkpoint_before_it_whole(
    tiny: Config, request: pytest.FixtureRequest
) -> None:
    writer = CheckpointWriter(Path(), lambda: None)
    writer._save("last.pt", {"step": 1})
    request.getfixturevalue("_full_disk")
    with pytest.raises(TrainingError, match=r"last\.pt' could not be saved: No space left"):
        writer._save("last.pt", {"step": torch.zeros(9000)})
    assert load_checkpoint(Path("last.pt"), torch.device("cpu")) == {"step": 1}


def test_a_full_disk_after_ctrl_c_is_why_the_run_ends(
    tiny: Config, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    original = Trainer._train_step

    def interrupt(self: Trainer, batch: Any) -> None:
        original(self, batch)
        if self.progress.step == 3:
            request.getfixturevalue("_full_disk")
            self._interruption.count = 1

    monkeypatch.setattr(Trainer, "_train_step", interrupt)
    with pytest.raises(TrainingError) as told:
        run(tiny)
    assert_told(newest(Path(tiny.out) / "digits" / "greedy"), "last.pt", str(told.value))


def test_what_is_wrong_with_the_state_itself_is_no_full_disk() -> None:
    with pytest.raises(AttributeError, match="lambda"):
        CheckpointWriter(Path(), lambda: None)._save("last.pt", {"step": lambda: None})
    assert list(Path().glob("*last.pt*")) == []


def test_a_checkpoint_with_a_flipped_bit_is_refused_or_as_it_was(
    tmp_path: Path, finished_run: Path
) -> None:
    """Some bits of a zip archive mean nothing; no other weights are ever taken."""
    whole = (finished_run / "best.pt").read_bytes()
    expected = load_checkpoint(finished_run / "best.pt", torch.device("cpu"))
    draw, damaged = np.random.default_rng(0), tmp_path / "best.pt"
    refused = 0
    for place in draw.integers(len(whole), size=300):
        content = bytearray(whole)
        content[place] ^= 1 << int(draw.integers(8))
        damaged.write_bytes(content)
        try:
            found = load_checkpoint(damaged, torch.device("cpu"))
        except UsageError as error:
            assert str(damaged) in str(error)  # noqa: PT017
            refused += 1
            continue
        assert found["epoch"] == expected["epoch"]
        for name, tensor in expected["model"].items():
            assert torch.equal(found["model"][name], tensor)
    assert refused > 200


def test_compressed_records_are_not_inflated(finished_run: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(finished_run / "best.pt") as whole, zipfile.ZipFile(packed, "w") as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(UsageError, match=r"packed\.pt' .* its record '.*' is compressed"):
        load_checkpoint(packed, torch.device("cpu"))


def test_a_checkpoint_holds_states_by_name(tmp_path: Path) -> None:
    torch.save(None, tmp_path / "last.pt")
    with pytest.raises(UsageError, match=r"expected \{name: state\}, got NoneType None"):
        load_checkpoint(tmp_path / "last.pt", torch.device("cpu"))


def _with_moments(moments: Any) -> dict[str, Any]:
    return {"steps": 6, "optimizers": [{"state": {0: moments}, "param_groups": []}] * 2}


@pytest.mark.parametrize(
    ("part", "state"),
    [
        ("progress", {"step": -1}),
        ("progress", {"epoch": "1"}),
        ("progress", {"best_acc": "high"}),
        ("rule", {"steps": None, "optimizers": []}),
        ("rule", {"steps": 6, "optimizers": [{"state": 5}] * 2}),
        ("rule", _with_moments({"step": torch.ones(()), "exp_avg": torch.ones(3)})),
        ("rule", _with_moments({"step": 1.0, "exp_avg": None, "exp_avg_sq": None})),
        ("class_means", {"input": torch.zeros(10, 3)}),
        ("class_means", [1]),
        ("model", "weights"),
        ("generators", {"augment": torch.zeros(3), "torch": None}),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(
    part: str, state: Any, finished_run: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished_run, directory)
    last = torch.load(directory / "last.pt", weights_only=True)
    torch.save(last | {part: state}, directory / "last.pt")
    before = contents(directory)
    with pytest.raises(UsageError, match="the checkpoint does not fit params") as caught:
        resume(directory)
    assert "\n" not in str(caught.value)
    assert contents(directory) == before


def contents(directory: Path) -> dict[str, bytes]:
    """All files of a run but its locks."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files if path.suffix != ".lock"}


@pytest.mark.parametrize("epoch", ["\x1b[2J", -1, None])
def test_best_weights_of_no_epoch_cost_no_results(
    epoch: Any, finished_run: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished_run, directory)
    best = torch.load(directory / "best.pt", weights_only=True)
    torch.save(best | {"epoch": epoch}, directory / "best.pt")
    before = contents(directory)
    with pytest.raises(UsageError, match="the checkpoint does not fit params"):
        evaluate(directory)
    assert contents(directory) == before


def test_a_damaged_checkpoint_costs_no_results(finished_run: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    shutil.copytree(finished_run, directory)
    before = (directory / "test_results.json").read_bytes()
    content = bytearray((directory / "best.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "best.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"best\.pt' is not a checkpoint that can be read"):
        evaluate(directory)
    assert (directory / "test_results.json").read_bytes() == before


def test_best_weights_that_do_not_fit_are_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = interrupt(small(tmp_path, epochs=3), 8, monkeypatch)
    best = torch.load(directory / "best.pt")
    name = next(iter(best["model"]))
    best["model"][name] = best["model"][name][:-1]
    torch.save(best, directory / "best.pt")
    log = (directory / "log.jsonl").read_bytes()
    with pytest.raises(UsageError, match="the best weights have other names or shapes"):
        resume(directory)
    assert (directory / "log.jsonl").read_bytes() == log


def test_what_a_killed_program_had_begun_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = interrupt(small(tmp_path, epochs=2), 4, monkeypatch)
    left = [".last.pt.abc12", ".status.json.x", ".snapshot.h5", ".test_results.json.q"]
    for name in (*left, ".mine.txt", "last.pt.copy"):
        (directory / name).write_bytes(b"half")
    resume(directory)
    there = {path.name for path in directory.iterdir()}
    assert there.isdisjoint(left)
    assert there >= {".mine.txt", "last.pt.copy"}
