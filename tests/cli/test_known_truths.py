"""Networks whose answers are known, from training to `answers.json` and back from the snapshots.

The layers are fixed linear maps of Gaussian inputs, so what is linearly there, CKA and R² are
known in closed form, and training changes nothing but the head.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calls import call, directory

SLOW = pytest.mark.slow

PLUGIN = '''
import math
import torch
from torch import nn
from cmp_core import Images, Layer, LayeredModel, RawData, hookimpl

COPIES, SHARED, VARIANCE, OWN, DEPTH = {maps}


def load(config):
    """Gaussian samples of four classes, whose means are apart along the first two coordinates."""
    draw = torch.Generator().manual_seed(0)
    def sample(n):
        labels = torch.arange(n) % 4
        x = torch.randn(n, SHARED + OWN * DEPTH, generator=draw)
        x[:, 0] += {apart} * (labels % 2)
        x[:, 1] += {apart} * (labels // 2)
        return Images(x[:, None, None].numpy(), labels.numpy())
    return RawData(sample({train}), sample({test}), class_names=tuple("abcd"))


class Fixed(LayeredModel):
    learning_rule = "backprop"

    def __init__(self, classes):
        super().__init__()
        self.layers = nn.ModuleList([nn.Identity() for _ in range(DEPTH)])
        self.head = nn.Linear(SHARED + OWN, classes)
        total, p = SHARED + OWN * DEPTH, SHARED + OWN
        maps, power = [], torch.eye(total)
        mix = torch.randn(total, total) * {random}
        for i in range(DEPTH):
            if COPIES:
                maps.append(power)
                power = power @ mix / total ** 0.5
                continue
            own = torch.arange(SHARED + OWN * i, SHARED + OWN * (i + 1))
            chosen = torch.eye(total)[:, torch.cat([torch.arange(SHARED), own])]
            chosen[:SHARED] *= math.sqrt(VARIANCE)
            turn, _ = torch.linalg.qr(torch.randn(p, p)) if {random} else (torch.eye(p), None)
            maps.append(chosen @ turn)
        for i, one in enumerate(maps):
            self.register_buffer(f"map_{{i}}", one)

    def forward(self, inputs, detach=False):
        x = inputs.flatten(1)
        hidden = [x @ getattr(self, f"map_{{i}}") for i in range(DEPTH)]
        logits = self.head(hidden[-1])
        layers = [Layer(f"layer_{{i}}", i, f"layers.{{i}}", h) for i, h in enumerate(hidden)]
        return (*layers, Layer("head", DEPTH, "head", logits, scores=logits))


@hookimpl
def cmp_register_datasets(register):
    register(load, name="gauss")


@hookimpl
def cmp_register_models(register):
    register(lambda config, size, classes: Fixed(classes), name="fixed")
'''


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function that trains three seeds of fixed layers and returns what `cmp report` says."""
    monkeypatch.chdir(tmp_path)

    def reported(
        maps: tuple[Any, ...],
        metrics: str,
        *,
        test: int = 2000,
        train: int = 6000,
        apart: float = 3.0,
        random: bool = True,
    ) -> Any:
        text = PLUGIN.format(maps=maps, test=test, train=train, apart=apart, random=int(random))
        Path("truths.py").write_text(text)
        runs = []
        for seed in range(3):
            options = ["epochs=1", "dataset=gauss", "model=fixed", f"seed={seed}", "lr=1e-6"]
            options += ["batch_size=1000", "snapshots={phase: test, samples: all}", "plots=[]"]
            settings = [part for one in options for part in ("--set", one)]
            run = call("run", "-p", "truths.py", "--metrics", metrics, *settings)
            assert run.exit_code == 0, run.output
            runs.append(directory(run))
        told = call("report", *runs, "--out", "page.html")
        assert told.exit_code == 0, told.output
        (found,) = json.loads(Path("page.answers.json").read_text()).values()
        return found, runs

    return reported


PREDICTIVE = "accuracy,probe_accuracy,participation_ratio"
DIFFERENT = "linear_cka,ridge_r2,participation_ratio"


@pytest.mark.parametrize("n", [200, *(pytest.param(n, marks=SLOW) for n in (2000, 10_000))])
def test_invertible_maps_are_not_more_predictive(answers: Callable[..., Any], n: int) -> None:
    """X, XD, XD² and XD³ have the same linear information, live and from the file."""
    found, runs = answers((True, 16, 1.0, 0, 4), PREDICTIVE, test=n)
    answer = found["predictive"]
    probe = next(row for row in answer["evidence"] if row["metric"] == "probe_accuracy")
    assert answer["word"] != "yes"  # the class means of the layers' own scores may differ
    assert (probe["word"], probe["nothing_gained_after"]) == ("no", "layer_0")
    assert abs(probe["effect"]["effect"]) <= 1 / n
    assert abs(probe["learned"]["effect"]) <= 1 / n
    rows = map(json.loads, call("recompute", runs[0], "--json").stdout.splitlines())
    stored = {
        (row["layer"], row["step"]): row["value"]
        for row in rows
        if row["metric"] == "probe_accuracy" and row["layer"].startswith("layer")
    }
    last = max(step for _, step in stored)
    values = [stored[f"layer_{i}", last] for i in range(4)]
    assert max(values) - min(values) <= 1 / n


def test_layers_that_differ_as_before_training_differ(answers: Callable[..., Any]) -> None:
    """Of 55 coordinates 7 of variance 12/7 are shared: CKA .3, R² .2, trained or not."""
    found, _ = answers((False, 7, 12 / 7, 48, 3), DIFFERENT, apart=0.0, train=20_000)
    answer = found["different"]
    assert answer["word"] == "yes"
    cka, r2 = (
        next(row for row in answer["evidence"] if row["metric"] == name)
        for name in ("linear_cka", "ridge_r2")
    )
    for row, truth in ((cka, 0.7), (r2, 0.8)):
        assert row["word"] == "yes"
        assert row["effect"]["effect"] == pytest.approx(truth, abs=0.02)
        assert row["effect"]["low"] - 0.01 < truth < row["effect"]["high"] + 0.01
        assert row["learned"]["effect"] == pytest.approx(0, abs=1e-6)  # not more than before


def test_layers_that_are_nearly_the_same_do_not_differ(answers: Callable[..., Any]) -> None:
    """Of 100 coordinates 99 are shared: CKA .99 and R² .99."""
    found, _ = answers((False, 99, 1.0, 1, 3), DIFFERENT, apart=0.0, train=20_000)
    assert found["different"]["word"] == "no"
    for row in found["different"]["evidence"]:
        assert row["effect"]["effect"] == pytest.approx(0.01, abs=0.003)


def test_three_seeds_of_one_network_are_one(answers: Callable[..., Any]) -> None:
    _, (run, *_) = answers((False, 7, 12 / 7, 48, 3), DIFFERENT, test=200, train=600)
    copies = [run]
    for seed in (7, 8):
        copies.append(Path(f"copy_{seed}"))
        shutil.copytree(run, copies[-1])
        params = (copies[-1] / "params.yaml").read_text()
        (copies[-1] / "params.yaml").write_text(params.replace("seed: 0", f"seed: {seed}"))
    assert call("report", *copies, "--out", "copies.html").exit_code == 0
    (found,) = json.loads(Path("copies.answers.json").read_text()).values()
    for answer in found.values():
        assert (answer["seeds"], answer["word"], answer["p"]) == (1, None, None)
        assert sum("it has all the values of" in note for note in answer["notes"]) == 2


def test_seeds_whose_layers_are_alike_have_the_error_of_the_samples(
    answers: Callable[..., Any],
) -> None:
    """Not that of three seeds that happen to agree, which would be none."""
    found, runs = answers((False, 20, 1.0, 1, 3), DIFFERENT, test=500, random=False)
    (cka,) = (row for row in found["different"]["evidence"] if row["metric"] == "linear_cka")
    assert call("report", runs[0], "--out", "one.html").exit_code == 0
    (one,) = json.loads(Path("one.answers.json").read_text()).values()
    (alone,) = (row for row in one["different"]["evidence"] if row["metric"] == "linear_cka")
    assert cka["effect"]["error"] == pytest.approx(alone["effect"]["error"], rel=1e-3)
    assert cka["effect"]["error"] > 0.0005
