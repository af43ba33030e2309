"""Tests of `cmp_core.integrations.observed_training`: a training without any library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from cmp_core.errors import UsageError
from cmp_core.integrations.observed_training import ObservedTraining, fitting_loader
from tests.observation.models import Net, hooks_on, loader, samples

METRICS = ["participation_ratio"]


def training(part: str | None = None, test: Any = None, **options: Any) -> ObservedTraining:
    return ObservedTraining("*", METRICS, test, part, options)


def test_an_unknown_argument_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="unknown argument 'evry'; did you mean 'every'"):
        training(evry=1)
    with pytest.raises(UsageError, match="unknown argument 'model'"):
        training(**{"model": Net()})


def test_the_observed_module_is_a_part_of_the_model() -> None:
    model = nn.ModuleDict({"net": Net()})
    observed = training("net")
    observed.begin(model, None, is_resumed=False)
    assert observed.observer is not None
    assert observed.observer.subject.capture.paths == ("first", "second", "drop", "logits")
    observed.close()
    with pytest.raises(UsageError, match=r"model: unknown module 'nett'; did you mean 'net'"):
        training("nett").begin(model, None, is_resumed=False)


def test_one_training_each() -> None:
    observed = training()
    observed.begin(Net(), None, is_resumed=False)
    observed.close()
    with pytest.raises(UsageError, match="observes one training; make a new one for each"):
        observed.begin(Net(), None, is_resumed=False)


def test_what_cannot_be_observed_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    observed = ObservedTraining("third", METRICS, None, None, {"out": tmp_path / "run"})
    model = Net()
    with pytest.raises(UsageError, match="unknown module 'third'"):
        observed.begin(model, None, is_resumed=False)
    assert hooks_on(model) == 0
    assert not (tmp_path / "run").exists()
    model.third = nn.Identity()
    observed.begin(model, None, is_resumed=False)
    observed.close()


def test_a_resumed_training_has_no_untrained_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_resumed in (False, True):
        out = tmp_path / str(is_resumed)
        observed = training(test=loader(), out=out, every=1)
        model = Net()
        observed.begin(model, None, is_resumed=is_resumed)
        model(samples()[0])
        observed.step()
        observed.end()
        assert ("goes on from a checkpoint" in capsys.readouterr().err) == is_resumed
        results = json.loads((out / "test_results.json").read_text())
        assert bool(results["untrained"].get("metrics")) != is_resumed


def test_passes_before_a_step_do_not_count_and_those_of_modules_alone_are_told() -> None:
    model, (x, _) = Net(), samples()
    observed = training(every=1)
    observed.begin(model, None, is_resumed=False)
    model(x)
    observed.begin_step()
    with pytest.raises(UsageError, match="the model was not run since the last step"):
        observed.step()
    model(x)
    observed.begin_step()
    model.second(model.first(x))
    with pytest.raises(UsageError, match=r"runs modules of .* \(first, second, drop, logits\) and"):
        observed.step()
    observed.close()


def test_without_an_observer_nothing_happens() -> None:
    observed = training(test=loader())
    observed.begin_step()
    observed.step()
    observed.evaluate(loader())
    observed.end()
    assert observed.observer is None


def test_the_fitting_loader_has_the_training_samples_and_moves_no_generator() -> None:
    own = torch.Generator().manual_seed(5)
    data = TensorDataset(torch.arange(10))
    training_loader = DataLoader(data, 4, shuffle=True, generator=own)
    states = own.get_state(), torch.get_rng_state()
    found = fitting_loader(training_loader, 4)
    assert found is not None
    read = torch.cat([x for (x,) in found]).tolist()
    assert sorted(read) == list(range(10)) != read
    assert torch.equal(own.get_state(), states[0])


def test_what_cannot_be_shuffled_gives_no_fitting_loader() -> None:
    class Stream(IterableDataset[int]):
        def __iter__(self) -> Any:
            return iter(range(10))

    assert fitting_loader(DataLoader(Stream(), 2), 2) is None
    assert fitting_loader([loader(), loader()], 20) is None
    assert fitting_loader(loader(), None) is None
