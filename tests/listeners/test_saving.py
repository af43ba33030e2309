"""Tests of `cmp_core.listeners.saving`: what the system says, in a sentence about a run."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core import resume, run
from cmp_core.config.schema import Config
from cmp_core.errors import TrainingError
from cmp_core.listeners.log import LogWriter
from cmp_core.listeners.saving import saving
from cmp_core.workflow import Outcome
from tests.run_files import lines, newest
from tests.small_runs import posix


def test_the_cause_behind_another_error_is_the_reason() -> None:
    """Torch raises one of its own about positions while it handles the system's."""
    error = RuntimeError("unexpected pos 704 vs 598")
    error.__context__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    Path("run").mkdir()
    Path("run/params.yaml").write_text("dataset: digits\n")
    with pytest.raises(TrainingError) as told, saving(Path("run/last.pt")):
        raise error
    assert str(told.value) == (
        "'run/last.pt' could not be saved: Disk quota exceeded; what was saved before is whole. "
        "Make room, then go on with: cmp run --resume run"
    )


@pytest.mark.parametrize("params", [None, "observed: {layer1: mean}\n"])
def test_what_cannot_be_resumed_is_begun_again(params: str | None) -> None:
    if params is not None:
        Path("params.yaml").write_text(params)
    with pytest.raises(TrainingError, match=r"Make room, then begin again$"), saving(Path("a")):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_other_errors_are_themselves() -> None:
    with pytest.raises(RuntimeError, match="no disk"), saving(Path("run/last.pt")):
        raise RuntimeError("no disk")


@posix
def test_a_log_that_finds_no_room_ends_the_run_with_a_sentence(
    tiny: Config, tiny_run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("a", encoding="utf-8") as full:
        original = LogWriter.__init__

        def without_room(self: LogWriter, folder: Path) -> None:
            original(self, folder)
            self._file.close()
            self._file = full

        monkeypatch.setattr(LogWriter, "__init__", without_room)
        with pytest.raises(TrainingError) as told:
            run(tiny)
    directory = newest(Path(tiny.out) / "digits" / "greedy")
    assert str(told.value).startswith(f"'{directory / 'log.jsonl'}' could not be saved: No space")
    status = json.loads((directory / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", f"TrainingError: {told.value}")
    monkeypatch.undo()
    resume(directory)
    assert lines(directory) == lines(tiny_run().directory)
