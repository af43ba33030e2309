"""Tests of `cmp_core.reporting.outcome`: rows of what came out of a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from cmp_core import load_run
from cmp_core.reporting.outcome import confusions_of, epochs_of
from cmp_core.runs.replicates import ReplicateGroup


def group(folder: Path, epochs: int) -> ReplicateGroup:
    folder.mkdir()
    (folder / "params.yaml").write_text("model: mlp\n")
    lines = [
        {"phase": "val", "epoch": e, "acc": e / 100, "val_loss": 1.0, "metrics": {}}
        for e in range(epochs + 1)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ReplicateGroup("mlp", (load_run(folder),))


def test_few_epochs_are_all_told_and_of_many_some_with_the_first_and_the_last(
    tmp_path: Path,
) -> None:
    few, many = (epochs_of(group(tmp_path / str(n), n)) for n in (7, 200))
    assert [row.number for row in few] == list(range(8))
    assert [row.val_acc for row in few] == [row.number / 100 for row in few]
    assert len(many) == 30
    assert (many[0].number, many[-1].number) == (0, 200)


def test_the_most_confused_classes_come_first_with_their_share(tmp_path: Path) -> None:
    one = group(tmp_path / "one", 1)
    counts = np.array([[90, 4, 6], [0, 50, 0], [1, 0, 9]])
    np.save(tmp_path / "one" / "confusion.npy", counts)
    found = [(x.true, x.predicted, x.count, x.share) for x in confusions_of(one)]
    assert found == [("0", "2", 6, 0.06), ("0", "1", 4, 0.04), ("2", "0", 1, 0.1)]
