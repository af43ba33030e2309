"""Files whose names and texts would steer a terminal: every command shows them by their codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cmp_core import workflow
from cmp_core.errors import DataError
from tests.cli.calls import call
from tests.synthetic_runs import write_run

STEERS = "\x1b[2J\x1b]0;t\x07\x9b1m\u202e"
SHOWN = r"\x1b[2J"
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def poisoned(value: Any) -> Any:
    """A value of JSON with something that steers in the names of layers and in its texts."""
    if isinstance(value, dict):
        return {
            key + STEERS if key.startswith("layer_") else key: poisoned(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [poisoned(item) for item in value]
    return value + STEERS if isinstance(value, str) and value.startswith("layer_") else value


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs of other programs, in folders of such names."""
    folder = tmp_path_factory.mktemp("runs")
    found = []
    for i, model in enumerate(("greedy", "mlp")):
        run = write_run(folder, model=model, depth=2, seed=i)
        for path in (*run.glob("*.json"), run / "log.jsonl"):
            entries = map(json.loads, path.read_text().splitlines())
            if path.suffix == ".json":
                entries = iter([json.loads(path.read_text())])
            path.write_text("".join(json.dumps(poisoned(entry)) + "\n" for entry in entries))
        with np.load(run / "test_predictions.npz") as arrays:
            np.savez(run / "test_predictions.npz", **{poisoned(k): arrays[k] for k in arrays.files})
        params = run / "params.yaml"
        text = re.sub(r"model: .*", f'model: "{model}\\\\e[2J\\\\e]0;t"', params.read_text())
        params.write_text(text)
        status = {"state": f"failed{STEERS}", "error": STEERS, "epoch": 1, "step": 2}
        (run / "status.json").write_text(json.dumps(status))
        found.append(run.rename(run.with_name(f"{run.name}{STEERS}")))
    return found


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshots") / f"a{STEERS}.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(format="cmp-activations", format_version=1)
        file.attrs.update(dict.fromkeys(("run_id", "dataset", "model", "software"), STEERS))
        layer = file.create_group(f"layers/a{STEERS}")
        layer.attrs["depth"] = 0
        layer["activations"] = np.random.default_rng(0).normal(size=(50, 3))
        layer["scores"] = np.random.default_rng(1).normal(size=(50, 2))
        file["labels"] = np.arange(50) % 2
    return path


@pytest.mark.parametrize(
    "command",
    ["info A", "info S", "compare A B", "report A", "plot heatmap A", "recompute S",
     "recompute S --json", "recompute A", "eval A", "plot NONE A", "info NONE", "eval NONE"],
)  # fmt: skip
def test_no_command_prints_what_steers(command: str, runs: list[Path], snapshot: Path) -> None:
    given = {"A": runs[0], "B": runs[1], "S": snapshot, "NONE": f"no{STEERS}"}
    workers = ["--workers", "1"] if "recompute" in command else []
    result = call(*(given.get(word, word) for word in command.split()), *workers)
    assert not UNFIT.search(result.output), ascii(result.output)
    assert SHOWN in result.output or "--json" in command


def test_nor_does_an_error_about_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[Path]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise DataError(f"class {STEERS}")

    monkeypatch.setattr(workflow, "evaluate", refuse)
    result = call("eval", shutil.copytree(runs[0], tmp_path / "run"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: class {SHOWN}" + r"\x1b]0;t\x07\x9b1m\u202e" + "\n"
