"""Tests of `cmp_core.snapshots.arrays`: snapshots from arrays, whole and in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmp_core import SnapshotWriter, measure_arrays, open_snapshot, write_snapshot
from cmp_core.errors import UsageError
from cmp_core.measurement.recompute import recompute
from tests.cli.calls import call

RNG = np.random.default_rng(0)
LABELS = np.arange(300) % 3
FIRST = RNG.normal(size=(300, 12)) + LABELS[:, None]
SECOND = torch.from_numpy(np.maximum(FIRST @ RNG.normal(size=(12, 6)), 0)).float()
LAYERS: dict[str, Any] = {"first": FIRST.astype("float32"), "second": SECOND}
METRICS = ["probe_accuracy", "linear_cka", "participation_ratio"]


def values(rows: Any) -> dict[tuple[str, str], float]:
    return {(r.layer, r.metric): r.value for r in rows if not r.pair and r.value is not None}


def test_a_file_gives_the_values_of_the_arrays(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path / "mine.h5", LAYERS, LABELS, dataset="mine", epoch=3)
    with open_snapshot(path) as snapshot:
        assert snapshot.verify()
        assert [layer.name for layer in snapshot.layers] == ["first", "second"]
        assert (snapshot.phase, snapshot.epoch, snapshot.dataset) == ("test", 3, "mine")
    (found,) = recompute([path], METRICS)
    assert found.error is None
    assert values(found.rows) == values(measure_arrays(LAYERS, LABELS, METRICS))
    assert call("recompute", path, "--metrics", "participation_ratio").exit_code == 0
    assert call("info", path).exit_code == 0


def test_what_distinguishes_the_run_is_kept(tmp_path: Path) -> None:
    config = {"dataset": "cifar10", "model": "vit", "seed": 3, "optimizer": {"betas": [0.9, 0.99]}}
    path = write_snapshot(tmp_path / "mine.h5", LAYERS, config=config)
    named = write_snapshot(tmp_path / "named.h5", LAYERS, config=config, model="ViT-B", dataset="x")
    with open_snapshot(path) as one, open_snapshot(named) as other:
        assert one.read_config() == other.read_config() == config
        assert (one.dataset, one.model) == ("cifar10", "vit")
        assert (other.dataset, other.model) == ("x", "ViT-B")


@pytest.mark.parametrize("size", [1, 7, 299, 300])
def test_pieces_make_the_same_file(tmp_path: Path, size: int) -> None:
    whole = write_snapshot(
        tmp_path / "whole.h5", LAYERS, LABELS, inputs=FIRST, fit=LABELS == 0, output="second"
    )
    with SnapshotWriter(tmp_path / "pieces.h5", output="second") as writer:
        for start in range(0, 300, size):
            rows = slice(start, start + size)
            writer.add(
                {name: x[rows] for name, x in LAYERS.items()},
                LABELS[rows],
                inputs=FIRST[rows],
                fit=LABELS[rows] == 0,
            )
    with open_snapshot(whole) as one, open_snapshot(tmp_path / "pieces.h5") as other:
        assert one.content_hash == other.content_hash
        assert one.output == "second"
        assert one.fit is not None
        assert one.fit.sum() == 100


def test_scores_anchors_and_maps_are_kept(tmp_path: Path) -> None:
    maps = RNG.normal(size=(30, 3, 2, 2))
    scores, anchors = RNG.normal(size=(30, 4)), RNG.normal(size=(4, 12))
    path = write_snapshot(
        tmp_path / "maps.h5",
        {"conv": maps},
        LABELS[:30],
        sample_ids=np.arange(30) * 5,
        scores={"conv": scores},
        anchors={"conv": anchors},
        num_classes=4,
        dtype="float64",
    )
    with open_snapshot(path) as snapshot:
        (layer,) = snapshot.layers
        assert layer.scores is not None
        assert layer.anchors is not None
        assert np.array_equal(layer.activations[:], maps)
        assert np.array_equal(layer.scores[:], scores)
        assert np.array_equal(layer.anchors[:], anchors)
        assert snapshot.sample_ids.tolist() == list(range(0, 150, 5))
        assert snapshot.num_classes == 4


def test_activations_of_the_output_are_scores_of_the_classes(tmp_path: Path) -> None:
    path = write_snapshot(
        tmp_path / "mine.h5", {"first": FIRST, "logits": FIRST[:, :4]}, LABELS, output="logits"
    )
    with open_snapshot(path) as snapshot:
        assert snapshot.num_classes == 4
    (found,) = recompute([path], ["accuracy", "cross_entropy"])
    of_output = {name: x for (layer, name), x in values(found.rows).items() if layer == "logits"}
    logits = FIRST[:, :4].astype("float32").astype("float64")
    assert of_output["accuracy"] == (logits.argmax(1) == LABELS).mean()
    own = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert of_output["cross_entropy"] == pytest.approx(
        -own[np.arange(300), LABELS].mean(), rel=1e-6
    )
    assert {row.reason for row in found.rows if row.layer == "first"} != {None}


def test_scores_that_the_output_has_itself_are_taken(tmp_path: Path) -> None:
    path = write_snapshot(
        tmp_path / "mine.h5",
        {"out": FIRST},
        LABELS,
        output="out",
        scores={"out": np.eye(3)[LABELS]},
    )
    (found,) = recompute([path], ["accuracy"])
    assert values(found.rows) == {("out", "accuracy"): 1.0}


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (
            {"a": FIRST},
            {"output": "a", "num_classes": 3},
            r"output: expected activations of a \(n, 3\), scores of the classes, got \(300, 12\)",
        ),
        (
            {"a": FIRST.reshape(300, 6, 2)},
            {"output": "a"},
            r"activations of a \(n, C\), scores of the classes, got \(300, 6, 2\); give scores=",
        ),
        ({"a": FIRST[:, :2]}, {"labels": LABELS, "output": "a"}, "expected labels below 2"),
        ({}, {}, "expected layers by name, got none"),
        ({"a/b/c": FIRST}, {}, "may not hold '/', got 'a/b/c'; write it as 'a.b.c'"),
        ({"": FIRST}, {}, "expected printable texts as names of layers, got ''"),
        ({"a\n": FIRST}, {}, r"expected printable texts as names of layers, got 'a\\n'"),
        ({0: FIRST}, {}, "expected printable texts as names of layers, got 0"),
        ({"input": FIRST}, {}, "is the name of the network's input, which is given as inputs="),
        ([FIRST], {}, "layers: expected a mapping by name, .*, got list"),
        (FIRST, {}, "layers: expected a mapping by name, .*, got ndarray"),
        ({"a": FIRST}, {"scores": FIRST}, "scores: expected a mapping by name, .*, got ndarray"),
        ({"a": FIRST}, {"anchors": FIRST}, "anchors: expected a mapping by name, .*, got ndarray"),
        ({"a": FIRST}, {"config": ["lr"]}, "config: expected a mapping by name, .*, got list"),
        ({"a": FIRST}, {"config": {"seed": np.int64(1)}}, r"config: .*, got np.int64\(1\); write"),
        ({"a": FIRST}, {"datset": "x"}, "write_snapshot: unknown argument 'datset'; .* 'dataset'"),
        ({"a": FIRST}, {"label": LABELS}, "unknown argument 'label'; did you mean 'labels'"),
        ({"a": FIRST, "b": SECOND[:9]}, {}, r"of the same n, got a \(300, 12\), b \(9, 6\)"),
        ({"a": FIRST[:, 0]}, {}, r"expected activations \(n, …\)"),
        ({"a": FIRST}, {"labels": LABELS[:5]}, "expected labels of 300 samples, got 5"),
        ({"a": FIRST}, {"labels": LABELS - 1}, "expected labels from 0 on"),
        ({"a": FIRST}, {"labels": LABELS, "num_classes": 2}, "expected labels below 2"),
        ({"a": FIRST}, {"sample_ids": LABELS}, "expected distinct sample_ids"),
        ({"a": FIRST}, {"scores": {"b": FIRST}}, "scores: unknown layer 'b'"),
        ({"a": FIRST}, {"output": "b"}, "output: unknown layer 'b'"),
        ({"a": FIRST}, {"phase": "testing"}, "unknown phase 'testing'; did you mean 'test'"),
        ({"a": FIRST}, {"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"a": FIRST * 1j}, {}, "activations of a"),
        ({"a": FIRST * 1e6}, {"dtype": "float16"}, "float16 ends at 65504; set dtype to float32"),
        ({"a": FIRST * 1e99}, {}, "float32 ends at 3.4028e[+]38; set dtype to float64"),
    ],
)
def test_wrong_input_writes_nothing(
    tmp_path: Path, layers: Any, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "mine.h5"
    path.write_bytes(b"what was there before")
    with pytest.raises(UsageError, match=message):
        write_snapshot(path, layers, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.h5"]
    assert path.read_bytes() == b"what was there before"


def test_pieces_must_go_together(tmp_path: Path) -> None:
    writer = SnapshotWriter(tmp_path / "mine.h5")
    with pytest.raises(UsageError, match="expected samples, got none"):
        writer.close()
    for more, message in (
        ({"layers": {"b": FIRST}}, "expected the layers a in each piece, got b"),
        ({"layers": {"a": FIRST}, "labels": LABELS}, "expected labels in all pieces, or in none"),
        ({"layers": {"a": FIRST}, "sample_ids": np.arange(300)}, "sample_ids in all pieces"),
        ({"layers": {"a": FIRST}, "scores": {"a": FIRST}}, "expected scores of a in all pieces"),
    ):
        with pytest.raises(UsageError, match=message):
            _write_both(tmp_path / "mine.h5", more)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="there is no folder"):
        SnapshotWriter(tmp_path / "none" / "mine.h5")


def _write_both(path: Path, more: Any) -> None:
    with SnapshotWriter(path) as writer:
        writer.add({"a": FIRST})
        writer.add(**more)
