"""A folder with a file of every kind that cmp reads: what damaged files are made from."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import struct
from pathlib import Path

import attrs
import numpy as np
from PIL import Image

from tests.small_runs import small

_FORMATS = ("png", "jpg", "tiff", "bmp", "webp", "ppm")
IMAGE_FILES = tuple(f"images/a/1.{form}" for form in _FORMATS)
IDX_FILES = tuple(
    f"data/MNIST/raw/{split}-{kind}-ubyte"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def make_sandbox(root: Path) -> None:
    """Make runs, images and configurations in a folder."""
    from cmp_core import recompute, run
    from cmp_core.config.schema import Selection

    names = ("accuracy", "margin", "linear_cka", "eigenspectrum", "within_class_variance")
    metrics = tuple(Selection(name, name) for name in names)
    config = small(root / "made", epochs=2, metrics=metrics, plots=())
    for name, values in (("run", {}), ("other", {"seed": 1}), ("mlp", {"model": "mlp"})):
        made = run(attrs.evolve(config, **values)).directory
        if name == "run":
            list(recompute([made], ["participation_ratio"], save=True))
        shutil.copytree(made, root / name)
    shutil.rmtree(root / "made")
    params = root / "run/params.yaml"  # so that it can be gone on with
    told = params.read_text().replace("epochs: 2", "epochs: 3")
    params.write_text(told.replace(str(root / "made"), "runs"))
    environment = root / "run/environment.json"
    begun = json.loads(environment.read_text())
    begun["params"] = hashlib.sha256(params.read_bytes()).hexdigest()
    environment.write_text(json.dumps(begun))
    (root / "cwd").mkdir()
    shutil.copy(params, root / "cwd/config.yaml")
    _write_images(root / "images")
    _write_idx(root)
    (root / "outside").mkdir()
    (root / "outside/victim").write_text("not yours\n")


def _write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for form in _FORMATS:
            pixels = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"1.{form}")
            Image.fromarray(pixels // 2).save(folder / name / f"2.{form}")


def _write_idx(root: Path) -> None:
    rng = np.random.default_rng(0)
    (root / IDX_FILES[0]).parent.mkdir(parents=True)
    for path, n in zip(IDX_FILES, (100, 100, 40, 40), strict=True):
        is_images = "images" in path
        shape = (n, 6, 6) if is_images else (n,)
        values = rng.integers(0, 256, shape) if is_images else np.arange(n) % 10
        header = bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)
        (root / path).write_bytes(header + values.astype(np.uint8).tobytes())
    (root / f"{IDX_FILES[0]}.gz").write_bytes(gzip.compress((root / IDX_FILES[0]).read_bytes()))
