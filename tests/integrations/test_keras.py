"""Keras 3 on the torch backend is observed without a callback of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cmp_core import observe
from tests.observation.models import loader, samples
from tests.oracles.metrics import participation_ratio


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras on torch."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = pytest.importorskip("keras", reason="Keras is not installed")
    assert found.backend.backend() == "torch"
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_keras_model_is_observed_by_a_keras_callback(keras: Any) -> None:
    class Watch(keras.callbacks.Callback):  # type: ignore[name-defined, misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            steps.append({row.layer for row in watch.step() if row.metric == "participation_ratio"})

    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(8, activation="relu", name="hidden")
    model = keras.Sequential([keras.Input((5,)), hidden, keras.layers.Dense(3, name="logits")])
    for layer in model.layers:
        torch.nn.Module.add_module(model, layer.name, layer)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = (part.numpy() for part in samples())
    steps: list[set[str]] = []
    names = ["participation_ratio", "accuracy"]
    with observe(model, ["hidden", "logits"], names, every=2) as watch:
        watch.evaluate(loader(), "test")
        model.fit(x, y, batch_size=20, epochs=2, verbose=0, callbacks=[Watch()])
        rows = watch.evaluate(loader(), "test")
    assert steps == [set(), {"hidden", "logits"}] * 3
    values = {(row.layer, row.metric): row.value for row in rows}
    (weights, bias), (head, offset) = (layer.get_weights() for layer in model.layers)
    activations = np.maximum(x @ weights + bias, 0)
    hits = (activations @ head + offset).argmax(1) == y
    assert values["logits", "accuracy"] == pytest.approx(hits.mean())
    assert values["hidden", "participation_ratio"] == pytest.approx(
        participation_ratio(activations.astype(np.float64)), rel=1e-4
    )
