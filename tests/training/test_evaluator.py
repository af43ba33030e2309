"""Tests of `cmp_core.training.evaluator`: what is said of a whole split."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from cmp_core import evaluate, open_snapshot, run
from cmp_core.config.schema import Config
from tests.run_files import lines


def stored_values(directory: Path) -> list[tuple[float, float]]:
    """Accuracy and loss of the output at each epoch, of the scores that were stored."""
    values = []
    for path in sorted((directory / "activations").glob("*.h5")):
        with open_snapshot(path) as snapshot:
            scores = torch.from_numpy(np.asarray(snapshot.layers[-1].scores))
            labels = torch.from_numpy(snapshot.labels)
        hits = (scores.argmax(1) == labels).double().mean()
        loss = torch.nn.functional.cross_entropy(scores.double(), labels)
        values.append((float(hits), float(loss)))
    return values


@pytest.mark.parametrize("chunk", [7, 100, 1024])
def test_accuracy_and_loss_are_means_over_samples_whatever_the_chunks(
    tiny: Config, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmp_core.events.activations.CHUNK", chunk)
    config = attrs.evolve(tiny, model="mlp", metrics=(), metrics_frequency="epoch")
    directory = run(config).directory
    logged = [(e["acc"], e["val_loss"]) for e in lines(directory) if e["phase"] == "val"]
    assert logged == [pytest.approx(values, rel=1e-5) for values in stored_values(directory)]


def test_the_test_event_names_the_step_of_the_weights(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(
        "from pathlib import Path\nfrom cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_layer_activations(event):\n"
        "    if event.phase == 'test' and event.pass_index == 1:\n"
        f"        with Path({str(tmp_path / 'seen')!r}).open('a') as file:\n"
        "            file.write(f'{event.epoch} {event.step} ')\n"
    )
    outcome = run(attrs.evolve(tiny, plugins=(str(path),), epochs=4, lr=0.02))
    evaluate(outcome.directory)
    *untrained, epoch, step = (tmp_path / "seen").read_text().split()[:4]
    assert untrained == ["0", "0"]
    assert (tmp_path / "seen").read_text().split() == 2 * ["0", "0", epoch, step]
    assert int(step) == 11 * int(epoch)
