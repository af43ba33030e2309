"""Tests of `cmp_core.observation.run_writer`: the files of a model under observation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from cmp_core import DataError, load_run, observe, open_snapshot
from cmp_core.plugins.stored import copies_of
from tests.observation.models import Net, loader
from tests.plugins.metric_files import METRIC


def halved(output: Tensor) -> Tensor:
    return output / 2


def test_what_is_known_at_the_start_is_written_at_the_first_pass(tmp_path: Path) -> None:
    out = tmp_path / "run"
    reduce: dict[str, Any] = {"**": "flatten", "second": halved}
    config = {"dataset": "noise", "seed": 3, "lr": 0.1}
    model = Net()
    with observe(
        model, ["first", "second", "logits"], ["accuracy"], out=out, reduce=reduce, config=config
    ) as watch:
        assert list(out.iterdir()) == []
        watch.evaluate(loader())
        assert json.loads((out / "status.json").read_text())["state"] == "running"
        run = load_run(out)
        assert run.config["observed"] == {
            "first": "flatten",
            "second": "halved",
            "logits": "flatten",
        }
        assert (run.config["dataset"], run.config["seed"], run.config["lr"]) == ("noise", 3, 0.1)
        assert (run.config["layers"], run.output) == (2, "logits")
    assert json.loads((out / "status.json").read_text())["state"] == "finished"


def test_the_plugin_files_of_an_observed_run_are_kept(tmp_path: Path) -> None:
    plugin, out = tmp_path / "mine.py", tmp_path / "run"
    plugin.write_text(METRIC.format(name="mine"))
    with observe(Net(), ["first"], ["mine"], out=out, plugins=[str(plugin)]) as watch:
        watch.evaluate(loader())
    assert copies_of(out) == {"mine": out / "plugins" / "mine.py"}


def test_a_test_is_stored_and_a_failed_one_leaves_no_file(tmp_path: Path) -> None:
    model, out = Net(), tmp_path / "run"
    with observe(
        model, ["first", "logits"], ["probe_accuracy"], out=out, fit=loader(seed=5)
    ) as watch:
        watch.test(loader())
        (file,) = (out / "activations").iterdir()
        data = loader()
        watch.test(data)
        data.dataset.tensors[0][30] += 1  # other samples at the next reading
        with pytest.raises(DataError, match="second reading"):
            watch.test(data)
        assert [x.name for x in (out / "activations").iterdir()] == [file.name]
    with open_snapshot(file) as snapshot:
        assert snapshot.fit is not None
        assert (snapshot.n, int(snapshot.fit.sum())) == (120, 60)
