"""Tests of `cmp_core.observation.evaluator`: whole splits of a model under observation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cmp_core import metric, observe
from tests.observation.models import Net, loader, samples


@metric("mean_of_units", split="mean", needs=("labels",))
def mean_of_units(view: Any) -> Tensor:
    """Mean over units."""
    activations: Tensor = view.activations
    return activations.mean(dim=1)


def test_loss_and_accuracy_of_the_output_are_those_of_numpy(tmp_path: Any) -> None:
    model, (x, y) = Net().eval(), samples()
    with observe(model, ["first", "logits"], ["accuracy"], out=tmp_path / "run") as watch:
        watch.evaluate(loader())
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    with torch.no_grad():
        scores = model(x).double().numpy()
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    told = json.loads(line)
    assert told["acc"] == np.mean(scores.argmax(1) == y.numpy())
    assert told["val_loss"] == pytest.approx(-log_p[np.arange(60), y.numpy()].mean(), rel=1e-6)


def test_positions_that_are_samples_have_the_labels_of_their_sample() -> None:
    convolution = nn.Conv1d(5, 4, 1)
    model = nn.Sequential(nn.Unflatten(1, (5, 1)), nn.Upsample(scale_factor=2), convolution)
    with observe(model, ["2"], [mean_of_units], reduce="samples") as watch:
        (row,) = watch.evaluate(loader())
    x, _ = samples()
    with torch.no_grad():
        expected = convolution(x[:, :, None]).mean().item()
    assert row.n == 120
    assert row.value == pytest.approx(expected, rel=1e-6)


def test_a_limited_number_of_fitting_samples_is_read_for_validation() -> None:
    many = loader(9_000, 1_000, 5)
    with observe(Net(), ["first", "logits"], ["probe_accuracy"], fit=many) as watch:
        val = watch.evaluate(loader())
        test = watch.test(loader())
    for rows, n in ((val, 9_000), (test, 9_000)):
        assert {row.fit.n for row in rows if row.fit is not None} == {n}
    few = loader(9_000, 500, 5)
    with observe(Net(), ["first", "logits"], ["probe_accuracy"], fit=few) as watch:
        rows = watch.evaluate(loader())
    assert {row.fit.n for row in rows if row.fit is not None} == {8_500}
