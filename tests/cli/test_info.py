"""Tests of `cmp info`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from cmp_core.runs.lock import TRAINING, locked
from tests.cli.calls import assert_refused, call
from tests.crashing import CRASHED, let_crash
from tests.small_runs import posix, stored


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A snapshot that another program wrote, with markup in its names."""
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1, phase="test", epoch=2, step=7)
        file["inputs"] = np.zeros((1200, 3), "f2")
        layer = file.create_group("layers/[red]a")
        layer.attrs["depth"] = 0
        layer["activations"] = np.zeros((1200, 2, 5))
    return path


def test_a_run_is_described_with_its_snapshots(copied_run: Path) -> None:
    result = call("info", copied_run)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [line.strip() for line in result.stdout.splitlines()]
    results = json.loads((copied_run / "test_results.json").read_text())
    assert shown[0] == "run       greedy on digits, seed 0, 2 epochs"
    assert shown[1] == "state     finished, epoch 2"
    assert shown[2] == (
        f"test      accuracy {results['acc']:.4f}, weights of epoch {results['epoch']}"
    )
    assert "torch " in shown[3]
    assert "activations, best.pt, class_report.json" in shown[4]
    for epoch, path in enumerate(stored(copied_run)):
        (row,) = [line for line in shown if line.startswith(path.name)]
        assert row.split()[1:6] == ["val", str(epoch), str(3 * epoch), "144", "2"]


def test_a_run_without_snapshots_says_so(copied_run: Path) -> None:
    shutil.rmtree(copied_run / "activations")
    for name in ("status.json", "test_results.json", "environment.json"):
        (copied_run / name).unlink()
    shown = call("info", copied_run).stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["run", "files", "no"]
    assert shown[-1] == "no snapshots"


def test_a_file_is_described_array_by_array(mine: Path) -> None:
    result = call("info", mine)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]
    assert shown[:2] == [f"{mine}: test, epoch 2, step 7", "1,200 samples, without labels"]
    assert "inputs 1,200 × 3 float16 7.2 kB" in shown
    assert "[red]a activations 1,200 × 2 × 5 float64 96.0 kB" in shown
    assert shown[-1] == "everything can be read, there is no content_sha256"


def test_a_file_of_a_run_names_it_and_is_what_was_written(finished_run: Path) -> None:
    shown = call("info", stored(finished_run)[1]).stdout.splitlines()
    assert shown[1:3] == [f"from greedy digits {finished_run.name}", "144 samples, 10 classes"]
    arrays = [line.split()[:2] for line in shown if " float32 " in line]
    assert arrays[:3] == [["inputs", "144"], ["input", "scores"], ["input", "anchors"]]
    assert arrays[3:6] == [["layer_0", x] for x in ("activations", "scores", "anchors")]
    assert shown[-1] == "everything can be read, and is what was written"


def test_a_folder_of_snapshots_is_a_list(mine: Path) -> None:
    shutil.copy(mine, mine.with_name("other.h5"))
    shown = call("info", mine.parent).stdout.split()
    assert shown.index("mine.h5") < shown.index("other.h5")


def test_damaged_snapshots_are_told_beside_the_whole_ones(copied_run: Path) -> None:
    first, second, third = stored(copied_run)
    with h5py.File(first, "a") as file:
        file["labels"][0] += 1
    third.write_bytes(third.read_bytes()[:1000])
    result = call("info", copied_run)
    assert result.exit_code == 2
    assert second.name in result.stdout
    assert first.name not in result.stdout
    told = result.stderr.splitlines()
    assert [line.split("'")[1] for line in told] == [str(first), str(third)]
    assert "does not match content_sha256" in told[0]
    assert all(line.startswith("error: ") for line in told)


@pytest.mark.parametrize(
    "content", [b"", b'{"acc": ', b"[1, 2]", b"\xff\xfe", b"null", b"[" * 100_000]
)
@pytest.mark.parametrize("name", ["status.json", "test_results.json", "environment.json"])
def test_json_that_cannot_be_read_is_told_and_left_out(
    copied_run: Path, name: str, content: bytes
) -> None:
    shutil.rmtree(copied_run / "activations")
    (copied_run / name).write_bytes(content)
    result = call("info", copied_run)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: '{copied_run / name}' is left out: ")
    assert len(result.stderr.splitlines()) == 1
    assert len(result.stdout.splitlines()) == 5


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b'{"label"', "it is not whole JSON"), (b"{}", "its label is null; expected a text")],
)
def test_added_values_that_cannot_be_read_are_told(
    copied_run: Path, content: bytes, problem: str
) -> None:
    (copied_run / "recomputed.jsonl").write_bytes(content)
    result = call("info", copied_run)
    assert result.exit_code == 0
    (told,) = result.stderr.splitlines()
    place = f"'{copied_run / 'recomputed.jsonl'}', line 1"
    assert told.startswith(f"warning: {place}: left out, {problem}")


def test_json_of_another_form_is_shown_as_far_as_it_goes(copied_run: Path) -> None:
    shutil.rmtree(copied_run / "activations")
    contents = {
        "status.json": '{"epoch": 3}',
        "test_results.json": '\ufeff{"acc": NaN}',
        "environment.json": '{"packages": ["torch"]}',
        "params.yaml": "\ufeffmodel: cnn\nold_key: 1",
    }
    for name, text in contents.items():
        (copied_run / name).write_text(text, encoding="utf-8")
    result = call("info", copied_run)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert shown[:3] == [
        "run cnn on ?, seed ?",
        "state ?, epoch 3",
        "test accuracy ?",
    ]


ODD: list[tuple[str, bytes]] = [
    (name, content)
    for name in ("status.json", "test_results.json", "environment.json")
    for content in (
        b'{"state": {}, "epoch": [[]], "acc": {}, "packages": {"a": [1]}}',
        b'{"state": "\\ud800", "acc": "x", "packages": {"\\ud800": null}}',
        b'{"epoch": 1e999, "acc": ' + b"9" * 5000 + b"}",
        b'{"state": "' + b"x" * 10**6 + b'", "packages": {"torch": "' + b"1" * 10**6 + b'"}}',
        b'{"epoch": ' + b"[" * 400 + b"]" * 400 + b"}",
        b"\0" * 100,
    )
] + [
    ("params.yaml", b"model: {a: [1]}\ndataset: [x]\nseed: {}\nepochs: []"),
    ("params.yaml", b"model: " + b"x" * 10**5),
    ("best.pt", b"{}"),
    ("test_predictions.npz", b"PK\3\4"),
    ("confusion.npy", b"\x93NUMPY"),
    ("recomputed.jsonl", b'{"label": "a"}\n5\n\xff\n[' + b"[" * 10**5),
    ("log.jsonl", b"\xff\n"),
]


@pytest.mark.parametrize(("name", "content"), ODD)
def test_odd_files_are_shown_or_left_out(copied_run: Path, name: str, content: bytes) -> None:
    shutil.rmtree(copied_run / "activations")
    (copied_run / name).write_bytes(content)
    result = call("info", copied_run)
    assert result.exit_code == 0
    assert all(line.startswith("warning: ") for line in result.stderr.splitlines())
    assert result.stdout.splitlines()[-1] == "no snapshots"
    assert len(result.output) < 5000


@posix
@pytest.mark.parametrize(
    "name", ["status.json", "environment.json", "activations/step_00000000.h5"]
)
def test_a_fifo_is_not_opened(copied_run: Path, name: str) -> None:
    (copied_run / name).unlink()
    os.mkfifo(copied_run / name)
    result = call("info", copied_run)
    assert result.exit_code == (2 if name.endswith(".h5") else 0)
    assert str(copied_run / name) in result.stderr
    assert "step_00000003.h5" in result.stdout


@posix
def test_names_that_are_no_utf8_are_shown(copied_run: Path) -> None:
    shutil.copy(stored(copied_run)[0], os.fsencode(copied_run / "activations") + b"/\xff.h5")
    result = call("info", copied_run)
    assert result.exit_code == 0
    assert "\\udcff.h5" in result.stdout


@posix
@pytest.mark.parametrize("count", [1, 2])
def test_a_snapshot_that_crashes_hdf5_costs_itself(
    mine: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    crashing = mine.with_name("crashing.h5")
    shutil.copy(mine, crashing)
    let_crash(monkeypatch, "cmp_core.cli._info")
    result = call("info", crashing if count == 1 else mine.parent)
    assert result.exit_code == 2
    assert result.stderr == f"error: '{crashing}': {CRASHED}\n"
    assert ("mine.h5" in result.stdout) == (count == 2)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("info", "missing argument 'PATH'"),
        ("info none", "'none' does not exist"),
        ("info .", "holds no snapshot"),
    ],
)
def test_wrong_input_is_told(command: str, message: str) -> None:
    assert_refused(command, message)


def test_a_run_whose_program_is_gone_is_not_said_to_go_on(copied_run: Path) -> None:
    """Whatever has ended it, such as a kill or a plugin's `os._exit`, it could not say so."""
    path = copied_run / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    assert (
        "running, epoch 2; its program has ended without a word" in call("info", copied_run).stdout
    )
    with locked(copied_run, TRAINING):
        assert "running, epoch 2\n" in call("info", copied_run).stdout


def test_of_many_snapshots_the_first_are_read_and_it_is_said_of_how_many(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.cli._info._MOST", 2)
    for copy in (5, 9, 10, 11):
        shutil.copy(mine, mine.with_name(f"mine_{copy}.h5"))
    mine.unlink()
    result = call("info", mine.parent)
    assert (result.exit_code, result.stderr) == (0, "")
    *table, last = result.stdout.splitlines()
    assert [line.split()[0] for line in table if ".h5" in line] == ["mine_5.h5", "mine_9.h5"]
    assert last == "the first 2 of 4 snapshots; name others by their paths"
