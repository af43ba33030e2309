"""Tests of `cmp_core.snapshots.format`: the documented names and the documented hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.small_runs import stored


def test_a_file_has_the_documented_attributes(finished_run: Path) -> None:
    params = (finished_run / "params.yaml").read_text()
    for path, epoch, step in zip(stored(finished_run), (0, 1, 2), (0, 3, 6), strict=True):
        assert path.name == f"step_{step:08d}.h5"
        with h5py.File(path) as file:
            found = dict(file.attrs)
        software = json.loads(found.pop("software"))
        assert set(software) == {"chain-of-metric-predictors", "torch", "h5py", "numpy"}
        assert len(found.pop("content_sha256")) == 64
        assert found == {
            "format": "cmp-activations",
            "format_version": 1,
            "run_id": finished_run.name,
            "phase": "val",
            "epoch": epoch,
            "step": step,
            "dataset": "digits",
            "model": "greedy",
            "num_classes": 10,
            "config": params,
        }


def test_a_file_has_the_documented_datasets(finished_run: Path) -> None:
    with h5py.File(stored(finished_run)[0]) as file:
        shapes = {
            "labels": (144,),
            "sample_ids": (144,),
            "inputs": (144, 64),
            "layers/input/activations": (144, 64),
            "layers/input/scores": (144, 10),
            "layers/input/anchors": (10, 64),
        }
        for name in ("layer_0", "layer_1"):
            shapes[f"layers/{name}/activations"] = (144, 12)
            shapes[f"layers/{name}/scores"] = (144, 10)
            shapes[f"layers/{name}/anchors"] = (10, 12)
        for name, shape in shapes.items():
            dtype = np.dtype("<i8" if name in ("labels", "sample_ids") else "<f4")
            assert (file[name].shape, file[name].dtype) == (shape, dtype), name
        assert set(file["layers"]) == {"input", "layer_0", "layer_1"}
        assert file["layers/input/activations"] == file["inputs"]  # stored once
        described = {name: dict(group.attrs) for name, group in file["layers"].items()}
        assert described == {
            "input": {"depth": -1, "module": "input", "anchor_kind": "class_mean"},
            "layer_0": {"depth": 0, "module": "layers.0", "anchor_kind": "orthonormal"},
            "layer_1": {"depth": 1, "module": "layers.1", "anchor_kind": "orthonormal"},
        }


def test_the_hash_is_the_documented_one(finished_run: Path) -> None:
    own = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS")
    lines: dict[str, Any] = {}

    def describe(path: str, item: Any) -> None:
        attributes = {
            name: [type(value).__name__, value.item() if hasattr(value, "item") else value]
            for name, value in item.attrs.items()
            if name not in (*own, "content_sha256")
        }
        lines[path] = [path, attributes]
        if isinstance(item, h5py.Dataset):
            digest = hashlib.sha256(item[:].tobytes()).hexdigest()
            lines[path] += [item.dtype.str, list(item.shape), digest]

    with h5py.File(stored(finished_run)[1]) as file:
        describe("/", file)
        file.visititems(lambda path, item: describe(f"/{path}", item))
        text = "".join(json.dumps(lines[path], sort_keys=True) + "\n" for path in sorted(lines))
        assert file.attrs["content_sha256"] == hashlib.sha256(text.encode()).hexdigest()
