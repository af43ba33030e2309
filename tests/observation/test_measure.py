"""Tests of `cmp_core.observation.measure`: finished models, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import nn

from cmp_core import load_run, measure
from cmp_core.analysis.questions import answer
from cmp_core.errors import UsageError
from tests.observation.models import Net, hooks_on, loader, samples


def test_rows_have_values_and_errors() -> None:
    model = Net().train()
    found = measure(model, loader(), ["first", "logits"], ["participation_ratio"])
    assert found.layer.tolist() == ["input", "first", "logits"]
    assert ((found.value > 0) & (found.error > 0) & (found.n == 60)).all()
    assert model.training
    assert hooks_on(model) == 0


def test_a_run_has_what_was_learned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    untrained, model = Net(), Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    x, y = samples(seed=1)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    before = [p.detach().clone() for p in model.parameters()]
    layers, metrics = ["first", "second", "logits"], ["accuracy", "participation_ratio"]
    measure(
        model,
        loader(),
        layers,
        metrics,
        out=tmp_path / "run",
        untrained=untrained,
        fit=loader(seed=1),
    )
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    found = load_run(tmp_path / "run")
    (evidence,) = answer([found], "compressing").evidence
    assert evidence.learned is not None
    assert found.test_accuracies["logits"] == pytest.approx(
        float((model.eval()(samples()[0]).argmax(1) == samples()[1]).float().mean())
    )


def test_another_architecture_is_no_untrained_one() -> None:
    with pytest.raises(UsageError, match="untrained: expected the same architecture"):
        measure(Net(), loader(), "first", ["participation_ratio"], untrained=Net(width=4))


def test_compiled_models_are_measured_uncompiled() -> None:
    model = Net().eval()
    compiled: Any = torch.compile(model, backend="eager")
    metrics = ["participation_ratio"]
    pandas.testing.assert_frame_equal(
        measure(compiled, loader(), "first", metrics), measure(model, loader(), "first", metrics)
    )
