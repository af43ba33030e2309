"""Tests of `plugins/wandb_sink.py`, with the real library, offline."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cmp_core import RunFailed, load_run, resume, run
from tests.integrations.sinks import Curves, curves, final_values, odd_step, plugin, run_in
from tests.interruption import interrupt
from tests.small_runs import small

wandb = pytest.importorskip("wandb", reason="W&B is not installed")

from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402

SINK = ("cmp:wandb_sink",)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing leaves the machine, and nobody's login is used."""
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_BASE_URL": "http://127.0.0.1:9",
        "WANDB_CONFIG_DIR": str(tmp_path / "config"),
        "WANDB_ERROR_REPORTING": "false",
        "NETRC": str(tmp_path / "netrc"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wandb.teardown()  # it has read the variables of the test before


def records(file: Path) -> Iterator[tuple[str, Any]]:
    """Yield what an offline run has stored: a LevelDB log, in blocks of 32 KiB, of messages."""
    data, at, message = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        message += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record.FromString(message)
            name = record.WhichOneof("record_type")
            yield name, getattr(record, name)
            message = b""


class Stored:
    """The one offline run of a run directory."""

    def __init__(self, folder: Path) -> None:
        wandb.teardown()  # its process writes to the file a little longer than a run lasts
        (self.file,) = folder.glob("wandb/offline-run-*/*.wandb")
        self.curves: Curves = {}
        self.summary: dict[str, float] = {}
        for name, record in records(self.file):
            if name == "run":
                self.run = record
            elif name == "exit":
                self.exit_code = record.exit_code
            elif name == "history":
                self._add({_key(item): json.loads(item.value_json) for item in record.item})
            elif name == "summary":
                self.summary |= {_key(x): json.loads(x.value_json) for x in record.update}

    def _add(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if not name.startswith("_"):
                self.curves.setdefault(name, {})[int(row["_step"])] = value


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def test_a_run_stands_in_wandb_with_all_its_numbers(tmp_path: Path) -> None:
    excepthook = sys.excepthook
    outcome = run(small(tmp_path, epochs=2, plugins=SINK))
    assert not outcome.failures
    assert sys.excepthook is excepthook
    stored, wanted = Stored(outcome.directory), curves(outcome.directory)
    assert len(wanted["loss/batch"]) == 6
    assert "accuracy/train/layer_1" in wanted
    assert stored.curves == wanted
    results = {k: v for k, v in stored.summary.items() if "/test" in k}
    assert results.pop("epoch/test") in (1, 2)
    assert results == final_values(outcome.directory)
    assert stored.exit_code == 0
    assert stored.run.display_name == f"digits/greedy/{outcome.directory.name}"
    config = {x.key: json.loads(x.value_json) for x in stored.run.config.update}
    assert {k: v for k, v in config.items() if k != "_wandb"} == load_run(outcome.directory).config


def test_a_resumed_run_goes_on_as_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = interrupt(small(tmp_path, epochs=3, plugins=SINK), 4, monkeypatch)
    before = Stored(folder)
    assert before.exit_code == 255
    assert sorted(before.curves["loss/batch"]) == [1, 2, 3, 4]
    before.file.unlink()
    assert not resume(folder).failures
    after = Stored(folder)
    assert after.run.run_id == before.run.run_id
    assert after.curves["loss/batch"] | before.curves["loss/batch"] == curves(folder)["loss/batch"]
    assert sorted(after.curves["loss/batch"]) == [5, 6, 7, 8, 9]


def test_without_a_login_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    outcome = run(small(tmp_path, plugins=SINK))
    (failure,) = outcome.failures
    assert failure.plugin == "wandb_sink"
    assert "No API key configured" in failure.error
    assert outcome.results["acc"] > 0


def test_odd_names_and_what_is_not_finite_are_stored(tmp_path: Path) -> None:
    sink, one = plugin("wandb_sink"), run_in(tmp_path / "run")
    sink.cmp_run_started(run=one)
    sink.cmp_step_finished(event=odd_step(), run=one)
    sink.cmp_run_failed(event=RunFailed(ValueError("no"), 1, 7), run=one)
    stored = Stored(tmp_path / "run")
    assert stored.curves == {
        "loss/batch": {7: float("inf")},
        "acc/batch": {7: 0.5},
        "norm [σ]/batch/block(0)": {7: 2.5},
    }
    assert stored.exit_code == 1
