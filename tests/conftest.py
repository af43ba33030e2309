"""Fixtures that many tests share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cmp_core.config import Config
from cmp_core.events import LayerActivations
from cmp_core.layer import Layer

MNIST = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def mnist() -> Path:
    """The folder of the original MNIST; the test is skipped where it is missing."""
    if not (MNIST / "MNIST" / "raw").is_dir():
        pytest.skip("the original MNIST is not beside the checkout")
    return MNIST


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test finds or leaves anything in the checkout."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture
def tiny(tmp_path: Path) -> Config:
    """A configuration that trains in about a second."""
    return Config(
        N=24, layers=3, epochs=2, batch_size=128, out=str(tmp_path / "runs"), device="cpu"
    )


@pytest.fixture
def cmp() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, as a user would."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cmp_core", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


def make_event(
    n: int = 50,
    widths: tuple[int, ...] = (6, 5),
    classes: int = 3,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    part: str = "batch",
) -> LayerActivations:
    """Random ReLU activations with anchors and scores at every layer, and the input."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    layers = tuple(
        Layer(
            name=f"layer_{i}",
            depth=i,
            module=f"layers.{i}",
            activations=normal(n, width).relu(),
            scores=3 * normal(n, classes),
            anchors=normal(classes, width),
            anchor_kind="orthonormal",
        )
        for i, width in enumerate(widths)
    )
    inputs = normal(n, 4)
    return LayerActivations(
        source="live",
        phase="val",
        part=part,
        epoch=1,
        step=1,
        layers=layers,
        sample_ids=torch.arange(n),
        labels=torch.randint(0, classes, (n,), generator=g),
        inputs=inputs,
        num_classes=classes,
        reference=Layer("input", -1, "input", inputs) if part != "batch" else None,
    )
