"""Tests of `cmp_core.analysis.stored`: snapshot files where runs are expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmp_core import SnapshotWriter, answers_of, load_run, write_snapshot
from cmp_core.analysis.questions import answer
from cmp_core.analysis.stored import run_of_snapshot
from cmp_core.measurement.recompute import recompute
from tests.cli.calls import call

RNG = np.random.default_rng(0)
LABELS = np.arange(400) % 4
FIRST = RNG.normal(size=(400, 10)) + 2 * np.eye(4, 10)[LABELS]
SECOND = np.maximum(FIRST @ RNG.normal(size=(10, 6)), 0)
LOGITS = FIRST[:, :4]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file of activations from elsewhere."""
    return write_snapshot(
        tmp_path / "mine.h5",
        {"block_0": FIRST, "block_1": SECOND, "logits": LOGITS},
        LABELS,
        output="logits",
        fit=np.arange(400) < 200,
    )


def test_a_file_is_a_run_with_its_values_and_answers(mine: Path) -> None:
    run = load_run(run_of_snapshot(mine))
    assert run.problems == ()
    assert (run.model, run.layers, run.output) == (
        "mine",
        ("block_0", "block_1", "logits"),
        "logits",
    )
    (found,) = recompute([mine])
    for row in found.rows:
        if isinstance(row.value, float) and not row.pair and row.layer != "input":
            assert run.value("test", row.layer, row.metric) == row.value
            if row.error is not None:
                assert run.value("test", row.layer, row.metric, what="errors") == row.error
    right = (LOGITS.argmax(1) == LABELS)[200:]
    assert run.test_accuracies["logits"] == pytest.approx(right.mean())
    (evidence, *_) = answer([run], "compressing").evidence
    assert evidence.info.label == "participation_ratio"
    assert evidence.places == ("block_0", "block_1")
    assert np.isfinite(evidence.effect.error)
    assert evidence.before is None  # the file holds one network


def test_files_and_folders_of_them_are_drawn_reported_and_compared(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_snapshot(tmp_path / "other.h5", {"block_0": SECOND, "block_1": FIRST}, LABELS)
    monkeypatch.chdir(tmp_path)
    page = call("report", "mine.h5")
    assert (page.exit_code, page.stderr) == (0, "")
    text = Path("report.html").read_text()
    assert "cmp recompute mine.h5" in text
    assert "params.yaml" not in text
    drawn = call("plot", "research_questions", mine, other)
    assert (drawn.exit_code, drawn.stderr) == (0, "")
    assert Path("plots/research_questions.png").exists()
    compared = call("compare", tmp_path, "--out", "figures")
    assert compared.exit_code == 0
    assert "mine" in compared.stdout
    assert "other" in compared.stdout


def test_a_file_without_labels_or_output_is_a_run_too(tmp_path: Path) -> None:
    with SnapshotWriter(tmp_path / "bare.h5") as writer:
        writer.add({"a": FIRST, "b": SECOND})
    run = load_run(run_of_snapshot(tmp_path / "bare.h5"))
    assert run.test_accuracies == {}
    assert np.isfinite(run.value("test", "a", "participation_ratio"))


def test_files_that_differ_by_seed_are_replicates(tmp_path: Path) -> None:
    config = {"dataset": "cifar10", "model": "vit", "lr": 0.1, "metrics": ["acc"], "plugins": "ddp"}
    for seed in range(3):
        layers = {"a": FIRST + RNG.normal(size=FIRST.shape), "b": SECOND}
        write_snapshot(tmp_path / f"{seed}.h5", layers, LABELS, config=config | {"seed": seed})
    ((label, answers),) = answers_of([tmp_path]).items()
    assert label == "vit"
    (evidence, *_) = answers[1].evidence
    assert evidence.effect.seeds == 3
    write_snapshot(tmp_path / "other.h5", layers, LABELS, config=config | {"seed": 0, "lr": 0.2})
    assert list(answers_of([tmp_path])) == ["vit lr=0.1", "vit lr=0.2"]


def test_a_configuration_names_the_file_as_far_as_it_goes(tmp_path: Path) -> None:
    config = {"seed": 1, "model": "v", "dataset": None}
    given = {"config": config, "model": "vit", "dataset": "cifar10"}
    run = load_run(run_of_snapshot(write_snapshot(tmp_path / "x.h5", {"a": FIRST}, **given)))
    assert (run.model, run.dataset, run.seed) == ("vit", "cifar10", 1)
    assert "file" not in run.config


def test_what_is_no_snapshot_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.h5").write_bytes(b"no")
    for command in ("report bad.h5", "compare bad.h5 bad.h5", "plot all bad.h5"):
        found = call(*command.split())
        assert found.exit_code == 2
        assert "expected a whole HDF5 file" in found.stderr
