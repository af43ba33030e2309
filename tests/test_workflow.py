"""Tests of `cmp_core.workflow`: whole runs, what they leave, and that they repeat."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch

from cmp_core import evaluate, resume, run
from cmp_core.config.load import build_config, read_yaml
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import UsageError
from cmp_core.workflow import Outcome, _warn_of_left_out_layers
from tests.run_files import BAD, lines
from tests.synthetic_runs import write_old_run


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_eval_prints_what_the_run_printed(tiny: Config, model: str) -> None:
    outcome = run(attrs.evolve(tiny, model=model, epochs=3, lr=0.01))
    before = {p.name: p.read_bytes() for p in outcome.directory.glob("*.*")}
    again = evaluate(outcome.directory)
    assert again.results == outcome.results
    for name in ("test_results.json", "confusion.npy", "class_report.json", "best.pt"):
        assert (outcome.directory / name).read_bytes() == before[name]


def test_eval_of_the_last_weights_keeps_its_files_apart(tiny_copy: Outcome) -> None:
    outcome = tiny_copy
    before = (outcome.directory / "test_results.json").read_bytes()
    last = evaluate(outcome.directory, "last")
    assert last.results["checkpoint"] == "last"
    assert last.directory == outcome.directory / "eval_last"
    assert (outcome.directory / "test_results.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["no run", "no params", "no checkpoint", "torn", "other shape"])
def test_eval_of_what_is_not_a_run_is_told(tiny_copy: Outcome, damage: str) -> None:
    directory = tiny_copy.directory
    if damage == "no run":
        directory, words = directory / "nothing", "does not exist"
    elif damage == "no params":
        directory, words = directory.parent, f"did you mean '{directory}'"
    elif damage == "no checkpoint":
        (directory / "best.pt").unlink()
        words = "was not written yet"
    elif damage == "torn":
        (directory / "best.pt").write_bytes(b"PK\x03\x04" + b"x" * 100)
        words = "is not a checkpoint that can be read"
    elif damage == "other shape":
        params = directory / "params.yaml"
        params.write_text(params.read_text().replace("N: 24", "N: 30"))
        words = "the checkpoint does not fit params.yaml"
    with pytest.raises(UsageError) as caught:
        evaluate(directory)
    assert words in str(caught.value)
    if damage == "other shape":
        with pytest.raises(UsageError, match="does not fit"):
            resume(directory, allow_changes=True)


def test_a_refused_resume_leaves_the_log_alone(tiny_copy: Outcome) -> None:
    outcome = tiny_copy
    torch.save({"of": "another program"}, outcome.directory / "last.pt")
    before = (outcome.directory / "log.jsonl").read_bytes()
    with pytest.raises(UsageError, match="does not fit"):
        resume(outcome.directory)
    assert (outcome.directory / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("has_weights", [True, False])
def test_a_run_of_another_program_is_neither_tested_nor_gone_on_with(
    tmp_path: Path, has_weights: bool
) -> None:
    directory = write_old_run(tmp_path)
    for name in ("best.pt", "last.pt") if has_weights else ():
        torch.save({"model": {"head.weight": torch.zeros(2)}, "cfg": {}}, directory / name)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    for use in (evaluate, resume):
        with pytest.raises(UsageError, match=r"trained by another program: .* cmp run -c '.*'$"):
            use(directory)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_run_without_a_checkpoint_resumes_from_its_start(tiny_copy: Outcome) -> None:
    outcome = tiny_copy
    before = lines(outcome.directory)
    for name in ("last.pt", "best.pt"):
        (outcome.directory / name).unlink()
    assert resume(outcome.directory).results == outcome.results
    assert lines(outcome.directory) == before


def test_resuming_a_finished_run_tests_it_again(tiny_copy: Outcome) -> None:
    outcome = tiny_copy
    before = lines(outcome.directory)
    assert resume(outcome.directory).results == outcome.results
    assert lines(outcome.directory) == before


FILES = {
    ".training.lock",
    "params.yaml",
    "metrics.json",
    "environment.json",
    "log.jsonl",
    "best.pt",
    "last.pt",
    "test_results.json",
    "test_influences.npz",
    "test_predictions.npz",
    "confusion.npy",
    "class_report.json",
    "status.json",
    "activations",
}


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_a_run_leaves_its_directory(tiny_run: Callable[..., Outcome], model: str) -> None:
    folder = tiny_run(model).directory
    assert folder.parts[-4:-1] == ("runs", "digits", model)
    assert folder.name.startswith("0001_")
    assert {path.name for path in folder.iterdir()} == FILES
    for name in ("best.pt", "last.pt"):
        torch.load(folder / name, weights_only=True)


def test_one_seed_gives_one_log(tiny: Config, tiny_run: Callable[..., Outcome]) -> None:
    first = lines(tiny_run().directory)
    assert lines(run(tiny).directory) == first
    assert lines(run(attrs.evolve(tiny, seed=1)).directory) != first


def test_params_give_the_same_run_from_any_folder(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = run(attrs.evolve(tiny, out="here", plugins=("cmp:sparsity",))).directory
    params = build_config(read_yaml(directory / "params.yaml"))
    assert Path(params.out).is_absolute()
    assert Path(params.data_dir).is_absolute()
    assert "sparsity" in {selection.name for selection in params.metrics}
    monkeypatch.chdir(tmp_path)
    assert lines(run(params).directory) == lines(directory)


def test_one_metric_under_two_labels(tiny: Config) -> None:
    twice = (Selection("margin", "margin"), Selection("margin", "again"))
    last = lines(run(attrs.evolve(tiny, metrics=twice)).directory)[-1]["metrics"]["layer_0"]
    assert last["margin"] == last["again"]


def test_a_plugin_that_fails_in_the_test_leaves_its_traceback_there(
    tiny: Config, tmp_path: Path
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD.replace("epoch == 2", "phase == 'test'").format(act="raise ValueError"))
    outcome = run(attrs.evolve(tiny, plugins=(str(path),)))
    again = evaluate(outcome.directory, "last")
    assert [failure.plugin for failure in again.failures] == ["metric:bad"]
    assert "ValueError" in again.plugin_errors.read_text()


def test_a_run_with_a_plugins_folder_can_be_tested_again(tiny: Config, tmp_path: Path) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "good.py").write_text(BAD.format(act="pass").replace('"bad"', '"good"'))
    (folder / "broken.py").write_text("1 / 0")
    config = attrs.evolve(tiny, metrics="all", plugins=("no:broken", "no:alignment"))
    outcome = run(config, plugins_dir=folder)
    assert "good" in outcome.results["metrics"]["layer_0"]
    assert evaluate(outcome.directory).results == outcome.results


def test_layers_that_are_too_wide_are_warned_of_by_one_line_if_they_are_equal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    widths = {**{f"layer_{i}": 65536 for i in range(27)}, "head": 131072}
    reasons = {name: f"{name} has {width:,} units" for name, width in widths.items()}
    ids = SimpleNamespace(ids=range(9))
    data = SimpleNamespace(val=ids, measured=range(5), test=ids, class_names="ab")
    parts: Any = SimpleNamespace(data=data, device="cpu")
    measurer: Any = SimpleNamespace(left_out=lambda *_: reasons)
    _warn_of_left_out_layers(parts, measurer, widths)
    assert capsys.readouterr().err.splitlines() == [
        "warning: layer_0–layer_26: each has 65,536 units",
        "warning: head has 131,072 units",
    ]
