"""Tests of `cmp_core.training.evaluator`: what is said of a whole split."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from cmp_core import evaluate, open_snapshot, run
from cmp_core.config.schema import Config
from cmp_core.measurement.reference import MeasuredReference
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


COUNTS_CALLS = """
from pathlib import Path
from cmp_core import metric

@metric("mean_activation", split="mean")
def mean_activation(view):
    if view.name == "input" and len(view.labels) > 1:
        with Path("PLACE").open("a") as file:
            file.write(f"{len(view.labels)} ")
    return view.activations.mean(dim=1)
"""


def test_the_input_is_measured_once_and_has_the_same_values_at_every_epoch(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "counts.py", tmp_path / "calls"
    path.write_text(COUNTS_CALLS.replace("PLACE", str(calls)))
    config = attrs.evolve(tiny, plugins=(str(path),), metrics="all", epochs=3)
    once = lines(run(config).directory)
    assert len(calls.read_text().split()) == 3  # validation, the training subset, the test
    monkeypatch.setattr(MeasuredReference, "is_known", lambda *_, **__: False)
    again = lines(run(config).directory)
    assert len(calls.read_text().split()) == 3 + 10  # four epochs of two splits, and two tests
    assert once == again  # to the last bit
    of_input = [line["reference"] for line in once if line["phase"] == "val"]
    assert of_input[0]["mean_activation"]
    assert of_input == of_input[:1] * 4
