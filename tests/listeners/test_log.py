"""Tests of `cmp_core.listeners.log`, by the log of whole runs."""

from __future__ import annotations

import math
import os
from pathlib import Path

import attrs
import pytest

from cmp_core import run
from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.listeners.log import cut_log
from cmp_core.runs.log import read_log
from cmp_core.runs.progress import Progress
from tests.run_files import lines


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_the_log_has_the_promised_lines(tiny: Config, model: str) -> None:
    config = attrs.evolve(tiny, model=model, metrics_log_frequency=4)
    entries = lines(run(config).directory)
    train = [entry for entry in entries if entry["phase"] == "train"]
    val = [entry for entry in entries if entry["phase"] == "val"]
    per_epoch = math.ceil((1797 - 359 - 144) / 128)
    assert [entry["step"] for entry in train] == list(range(1, 2 * per_epoch + 1))
    assert [entry["iter"] for entry in train] == 2 * list(range(1, per_epoch + 1))
    assert [entry["epoch"] for entry in train] == [1] * per_epoch + [2] * per_epoch
    assert [entry["step"] for entry in train if "metrics" in entry] == [4, 8, 12, 16, 20]
    assert [(entry["epoch"], entry["iter"]) for entry in val] == [(0, 0), (1, 0), (2, 0)]
    assert entries[0]["phase"] == "val"
    base = {"phase", "epoch", "iter"}
    for entry in train:
        assert base | {"step", "loss", "acc"} <= entry.keys()
        if "metrics" in entry:
            assert entry["n"] in (128, (1797 - 359 - 144) % 128)
    for entry in val:
        assert base | {"acc", "val_loss", "metrics", "train_metrics", "reference"} <= entry.keys()
        assert not {"loss", "step"} & entry.keys()
        last = "head" if model == "mlp" else "layer_2"
        assert entry["metrics"][last]["accuracy"] == pytest.approx(entry["acc"], abs=1e-9)
        assert entry["n"] == entry["train_n"] == 144
        if model == "mlp":
            assert entry["missing"]["head"]["alignment"] == "head has no anchors"
            assert "ace_regularizer" in entry["metrics"]["layer_2"]
        else:
            assert entry["missing"]["layer_2"]["ace_regularizer"] == "layer_2 is the last layer"
            assert "ace_regularizer" in entry["metrics"]["layer_1"]
        assert {"accuracy", "margin"} <= entry["reference"].keys()


WRITTEN = (
    '{"phase": "val", "epoch": 0}',
    '{"phase": "train", "epoch": 1, "step": 1}',
    '{"phase": "train", "epoch": 1, "step": 2}',
    '{"phase": "val", "epoch": 1}',
    '{"phase": "train", "epoch": 2, "step": 3}',
    '{"phase": "train", "epoch": 2, "step": 4}',
    '{"phase": "val", "epoch": 2}',
    '{"phase": "train", "epo',
)


@pytest.mark.parametrize(
    ("progress", "kept"),
    [
        (Progress(epoch=0, iter=0, step=0), 0),  # nothing was trained: the run begins anew
        (Progress(epoch=1, iter=1, step=1), 2),
        (Progress(epoch=1, iter=2, step=2), 3),  # in front of the line of its epoch
        (Progress(epoch=1, iter=0, step=2), 4),
        (Progress(epoch=2, iter=1, step=3), 5),
        (Progress(epoch=2, iter=0, step=4), 7),
    ],
)
def test_lines_behind_a_checkpoint_are_cut_off(
    tmp_path: Path, progress: Progress, kept: int
) -> None:
    (tmp_path / "log.jsonl").write_text("\n".join(WRITTEN))
    cut_log(tmp_path, progress)
    assert tuple((tmp_path / "log.jsonl").read_text().splitlines()) == WRITTEN[:kept]


def test_a_log_that_is_not_there_is_cut_to_nothing(tmp_path: Path) -> None:
    cut_log(tmp_path, Progress(epoch=1, iter=0, step=2))
    assert (tmp_path / "log.jsonl").read_bytes() == b""


def test_a_log_with_a_line_of_holes_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{WRITTEN[0]}\n")
    os.truncate(path, 2**40)
    with pytest.raises(UsageError, match=r"log\.jsonl': a line has more than 268,435,456 bytes"):
        cut_log(tmp_path, Progress(epoch=1, iter=0, step=2))
    assert path.stat().st_size == 2**40
    (problem,) = read_log(path).problems
    assert problem == f"'{path}': the rest is left out, a line has more than 268,435,456 bytes"


def test_lines_that_another_program_has_spoilt_are_cut_off(tmp_path: Path) -> None:
    spoilt = ["[1]", "3", "null", "{}", '{"phase": "train"}', '{"phase": "val", "epoch": "x"}']
    text = "\n".join(["\ufeff" + WRITTEN[0], *spoilt, *WRITTEN[1:]])
    (tmp_path / "log.jsonl").write_bytes(text.encode() + b"\n\xff\xfe")
    cut_log(tmp_path, Progress(epoch=2, iter=0, step=4))
    assert (tmp_path / "log.jsonl").read_text() == "".join(f"{x}\n" for x in WRITTEN[:7])


UNREADABLE = [
    b"{}",
    b"5",
    b"null",
    b"[1]",
    b'{"phase": "train", "epoch": 1, "step": null}',
    b'{"phase": "val", "epoch": 1e999}',
    b'{"phase": "other", "epoch": 1, "step": 1}',
    b'{"phase": "train", "step": 1',
    b"\xff\xfe",
    b"\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("bad", UNREADABLE)
def test_a_line_that_cannot_be_read_is_set_aside_and_no_other_is_lost(
    bad: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [
        b'{"phase": "val", "epoch": 0}',
        b'{"phase": "train", "epoch": 1, "step": 1, "loss": "\xc3\xa4"}',
        b'{"phase": "val", "epoch": 1}',
    ]
    later = [b'{"phase": "train", "epoch": 2, "step": 2}', b'{"phase": "tr']
    lines = [*good[:1], bad, *good[1:], bad, *later]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(lines))
    cut_log(tmp_path, Progress(epoch=1, iter=0, step=1))
    assert (tmp_path / "log.jsonl").read_bytes() == b"".join(line + b"\n" for line in good)
    assert (tmp_path / "log.unreadable").read_bytes() == 2 * (bad + b"\n")
    told = " ".join(capsys.readouterr().err.split())
    assert "log.jsonl': 2 lines cannot be read; set aside in 'log.unreadable'" in told


def test_a_half_written_line_at_the_end_is_dropped_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"phase": "val", "epoch": 0}\n{"phase": "tr')
    cut_log(tmp_path, Progress(epoch=1, iter=1, step=1))
    assert (tmp_path / "log.jsonl").read_bytes() == b'{"phase": "val", "epoch": 0}\n'
    assert {path.name for path in tmp_path.iterdir()} == {"log.jsonl"}
    assert capsys.readouterr().err == ""
