"""`cmp eval`: the same numbers again, from what a run has left."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from cmp_core import evaluate, resume, run
from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from tests.run_files import lines


@pytest.mark.parametrize("model", ["greedy", "mlp"])
def test_eval_prints_what_the_run_printed(tiny: Config, model: str) -> None:
    outcome = run(attrs.evolve(tiny, model=model, epochs=3, lr=0.01))
    before = {p.name: p.read_bytes() for p in outcome.directory.glob("*.*")}
    again = evaluate(outcome.directory)
    assert again.results == outcome.results
    for name in ("test_results.json", "confusion.npy", "class_report.json", "best.pt"):
        assert (outcome.directory / name).read_bytes() == before[name]


def test_eval_of_the_last_weights_keeps_its_files_apart(tiny: Config) -> None:
    outcome = run(tiny)
    before = (outcome.directory / "test_results.json").read_bytes()
    last = evaluate(outcome.directory, "last")
    assert last.results["checkpoint"] == "last"
    assert last.directory == outcome.directory / "eval_last"
    assert (outcome.directory / "test_results.json").read_bytes() == before


def test_the_best_epoch_is_the_tested_one(tiny: Config) -> None:
    outcome = run(attrs.evolve(tiny, epochs=4, lr=0.02, scheduler="constant"))
    accs = {e["epoch"]: e["acc"] for e in lines(outcome.directory) if e["phase"] == "val"}
    del accs[0]
    assert outcome.results["epoch"] == max(accs, key=lambda epoch: (accs[epoch], -epoch))


@pytest.mark.parametrize("damage", ["no run", "no params", "no checkpoint", "torn", "other shape"])
def test_eval_of_what_is_not_a_run_is_told(tiny: Config, tmp_path: Path, damage: str) -> None:
    directory = tmp_path / "nothing"
    words = "does not exist"
    if damage != "no run":
        directory = run(tiny).directory
    if damage == "no params":
        directory, words = directory.parent, f"did you mean '{directory}'"
    elif damage == "no checkpoint":
        (directory / "best.pt").unlink()
        words = "stopped before it was written"
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
            resume(directory)


def test_the_test_event_names_the_step_of_the_weights(tiny: Config, tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(
        "from pathlib import Path\nfrom cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_layer_activations(event):\n"
        "    if event.phase == 'test' and event.reading == 1:\n"
        f"        with Path({str(tmp_path / 'seen')!r}).open('a') as file:\n"
        "            file.write(f'{event.epoch} {event.step} ')\n"
    )
    outcome = run(attrs.evolve(tiny, plugins=(str(path),), epochs=4, lr=0.02))
    evaluate(outcome.directory)
    epoch, step, *again = (tmp_path / "seen").read_text().split()
    assert again == [epoch, step]
    assert int(step) == 11 * int(epoch)


def test_a_run_can_be_told_where_its_data_is_now_and_nothing_else(tiny: Config) -> None:
    outcome = run(tiny)
    again = evaluate(outcome.directory, settings=["data_dir=elsewhere", "device=cpu"])
    assert again.results == outcome.results
    with pytest.raises(UsageError, match="only data_dir, device, num_workers may be changed"):
        resume(outcome.directory, settings=["lr=1"])
