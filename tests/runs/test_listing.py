"""Tests of `cmp_core.runs.listing`: the runs below a folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cmp_core.errors import UsageError
from cmp_core.runs.directory import PARAMS
from cmp_core.runs.listing import ListedRun, chosen, differing, find_runs, read_listed_run
from cmp_core.runs.lock import TRAINING, locked
from cmp_core.runs.walking import Walk
from tests.synthetic_runs import write_old_run


def write(folder: Path, status: object = None, acc: float | None = None, **config: Any) -> Path:
    folder.mkdir(parents=True)
    keys = {"dataset": "digits", "model": "greedy", "seed": 0, **config}
    (folder / "params.yaml").write_text("".join(f"{k}: {v}\n" for k, v in keys.items()))
    if status is not None:
        (folder / "status.json").write_text(json.dumps(status))
    if acc is not None:
        (folder / "test_results.json").write_text(json.dumps({"acc": acc}))
    return folder


def read(folder: Path) -> ListedRun:
    problems: list[str] = []
    run = read_listed_run(folder, problems)
    assert not problems
    return run


def test_runs_are_found_at_any_depth_and_not_inside_of_each_other_or_behind_links(
    tmp_path: Path,
) -> None:
    one, deep = write(tmp_path / "one"), write(tmp_path / "a" / "b" / "deep")
    write(one / "inside")
    write(tmp_path / ".hidden" / "two")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert sorted(find_runs(Walk(tmp_path, PARAMS))) == sorted([one, deep])
    assert list(find_runs(Walk(one, PARAMS))) == [one]


@pytest.mark.parametrize("state", ["finished", "failed", "interrupted"])
def test_the_state_is_that_of_the_status(tmp_path: Path, state: str) -> None:
    status = {"state": state, "epoch": 3, "val_acc": 0.75}
    run = read(write(tmp_path / "run", status, 0.5))
    assert (run.state, run.epoch, run.val_acc, run.test_acc) == (state, 3, 0.75, 0.5)


def test_a_run_without_its_program_was_killed(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", {"state": "running"})
    with locked(folder, TRAINING):
        assert read(folder).state == "running"
    assert read(folder).state == "killed"


def test_a_run_without_a_status_waits_or_is_of_an_older_program(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    assert read(folder).state == "waiting"
    assert math.isnan(read(folder).test_acc)
    (folder / "log.jsonl").write_text("")
    assert read(folder).state == "?"
    (folder / "test_results.json").write_text('{"acc": 0.5}')
    assert read(folder).state == "finished"


def test_what_cannot_be_read_is_told_and_listed_all_the_same(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", {})
    (folder / "params.yaml").write_text("a: [1\n")
    (folder / "status.json").write_text("[")
    problems: list[str] = []
    assert read_listed_run(folder, problems).config == {}
    assert len(problems) == 2


def test_what_tells_runs_of_a_model_apart_is_not_the_seed_or_a_place(tmp_path: Path) -> None:
    told = [
        {"N": 8, "seed": 0, "out": "a", "lr": 1.0},
        {"N": 16, "seed": 1, "out": "b", "lr": 1.0},
        {"N": 16, "seed": 2, "lr": 1.0, "tau": 2},
        {"model": "mlp", "N": 32},
    ]
    runs = [read(write(tmp_path / str(i), **config)) for i, config in enumerate(told)]
    expected = [{"N": 8, "tau": None}, {"N": 16, "tau": None}, {"N": 16, "tau": 2}, {}]
    assert differing(runs) == expected


def test_runs_are_chosen_by_keys_and_state(tmp_path: Path) -> None:
    a = read(write(tmp_path / "a", {"state": "finished"}, N=8, lr=1e-3, amp="true"))
    b = read(write(tmp_path / "b", {"state": "failed"}, N=16, lr=1e-3))
    assert chosen([a, b], []) == [a, b]
    assert chosen([a, b], ["N=8"]) == chosen([a, b], ["state=finished"]) == [a]
    assert chosen([a, b], ["lr=1e-3"]) == chosen([a, b], ["lr=0.001"]) == [a, b]
    assert chosen([a, b], ["amp=true"]) == [a]
    assert chosen([a, b], ["N=8", "state=failed"]) == []
    with pytest.raises(UsageError, match="unknown key 'stat'; did you mean 'state'"):
        chosen([a, b], ["stat=failed"])
    with pytest.raises(UsageError, match="expects key=value"):
        chosen([a, b], ["failed"])


def test_a_test_of_older_scripts_has_its_accuracy(tmp_path: Path) -> None:
    last = {"acc_last": 0.75, "acc_layers": [0.5, 0.75]}
    assert read(write_old_run(tmp_path, model="greedy", test=last)).test_acc == 0.75
