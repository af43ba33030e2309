"""The documents say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

import cmp_core
from cmp_core import load_run, open_snapshot, recompute, run
from cmp_core.config.load import dump_config, parse_yaml
from cmp_core.config.schema import Config, Snapshots
from cmp_core.events import hookspecs

ROOT = Path(__file__).parents[1]


def configuration_table() -> str:
    """The table of `docs/configuration.md`, from the configuration itself."""
    defaults = parse_yaml(dump_config(Config()), "defaults")
    defaults["snapshots"] = "…"  # has a table of its own
    return _table(Config, defaults)


def snapshots_table() -> str:
    """The table of the keys under `snapshots`."""
    return _table(Snapshots, attrs.asdict(Snapshots()))


def _table(kind: type[Any], defaults: dict[str, Any]) -> str:
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for field in attrs.fields(kind):
        default = json.dumps(defaults.get(field.name), ensure_ascii=False)
        rows.append(f"| `{field.name}` | `{default}` | {field.metadata['help']} |")
    return "\n".join(rows)


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for table in (configuration_table(), snapshots_table()):
        assert table in text, f"paste this table:\n{table}"


def test_every_event_is_documented() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    events = [
        name
        for name in vars(hookspecs)
        if name.startswith("cmp_") and not name.startswith("cmp_register")
    ]
    for name in events:
        assert f"`{name}`" in text


def test_the_metric_of_the_readme_runs(tmp_path: Path) -> None:
    code = re.search(r"```python\n(# my_metric.py.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code is not None
    (tmp_path / "my_metric.py").write_text(code[1])
    outcome = run(Config(epochs=1, plugins=(str(tmp_path / "my_metric.py"),), out=str(tmp_path)))
    assert outcome.failures == ()
    assert outcome.results["metrics"]["layer_3"]["mean_norm"] > 0


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)#]+)", prose):
        assert target.startswith("http") or (path.parent / target).exists()


LIBRARIES = ("lightning.pytorch", "transformers", "keras")


def blocks_about_observing() -> list[str]:
    """The Python blocks of `docs/observe.md`."""
    text = (ROOT / "docs" / "observe.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


ADAPTED = ("torchlens", "transformers")
"""Libraries whose activations are written to files."""


def library_of(block: str) -> str | None:
    """The library that a block imports and that cmp does without."""
    known = (*LIBRARIES, *ADAPTED)
    return next((x for x in known if re.search(rf"^(import|from) {x}\b", block, re.M)), None)


def block_about(library: str, *, writes_a_file: bool) -> str:
    """The block about a library that observes a training, or that writes activations to a file."""
    (block,) = [
        block
        for block in blocks_about_observing()
        if library_of(block) == library and ("SnapshotWriter" in block) == writes_a_file
    ]
    return block


@pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
    "ignore:The '.*_dataloader' does not have many workers",  # advice of Lightning's
    "ignore:'pin_memory' argument is set as true:UserWarning",  # of Trainer's loaders
    "ignore:__array__ implementation:DeprecationWarning",  # of Keras
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_block_about_a_library_runs_where_it_is_installed(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    block = block_about(library, writes_a_file=False)
    exec(compile(block, "docs/observe.md", "exec"), {})
    (out,) = re.findall(r'out="(.*?)"', block)
    assert json.loads((tmp_path / out / "status.json").read_text())["state"] == "finished"
    assert load_run(tmp_path / out).test_accuracies


@pytest.mark.slow  # other tests start torchrun
def test_the_block_about_several_processes_runs_under_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks_about_observing() if "init_process_group" in block]
    Path("train.py").write_text(block, encoding="utf-8")
    call = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "train.py"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run directory") == 1
    run = load_run("runs/distributed")
    assert run.status["state"] == "finished"
    lines = (run.directory / "log.jsonl").read_text(encoding="utf-8").splitlines()
    # Two shares of 20 each; of 151 samples, padded to 152, the fourth and last batch has 32.
    assert [json.loads(line)["n"] for line in lines] == [40, 32, 40, 32]
    assert json.loads((run.directory / "test_results.json").read_text())["n"] == 75


@pytest.mark.parametrize("library", ADAPTED)
def test_activations_of_a_library_are_written_to_a_file(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    block = block_about(library, writes_a_file=True)
    assert len(block.splitlines()) <= 25
    names: dict[str, Any] = {}
    exec(compile(block, "docs/observe.md", "exec"), names)
    (file,) = tmp_path.glob("*.h5")
    with torch.no_grad():
        if library == "torchlens":
            logits, labels = names["model"](names["x"]), names["y"]
            expected = names["model"][:2](names["x"]).mean((2, 3))
        else:
            ids, mask, labels = (names[name] for name in ("ids", "mask", "labels"))
            logits = names["model"](ids, mask).logits
            states = names["model"].bert(ids, mask).last_hidden_state
            tokens = zip(states, mask.sum(1), strict=True)
            expected = torch.stack([state[:real].mean(0) for state, real in tokens])
    with open_snapshot(file) as snapshot:
        stored = torch.from_numpy(snapshot.layers[-2].activations[:])
        scored = torch.from_numpy(snapshot.scored)
        name = snapshot.output
    assert torch.allclose(stored, expected, atol=1e-5)
    (found,) = recompute([file], ["accuracy"])
    (accuracy,) = [row.value for row in found.rows if row.layer == name]
    assert accuracy == (logits.argmax(1) == labels)[scored].double().mean()


def test_the_blocks_about_observing_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        block
        for block in blocks_about_observing()
        if library_of(block) is None and "init_process_group" not in block
    ]
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/observe.md", "exec"), names)
    assert len(load_run("runs/resnet18").test_accuracies) == 5
    run = load_run("runs/mlp_seed_0")
    assert run.seed == 0
    assert run.test_accuracies["3"] > 0.8
    assert "second linear_cka 0." in capsys.readouterr().out


def test_the_blocks_about_snapshot_files_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "snapshot-format.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(block, "docs/snapshot-format.md", "exec"), names)
    assert names["snapshot"].path.name == "mine.h5"
    assert [len(list(tmp_path.glob(files))) for files in ("*.h5", "vit/*.h5")] == [3, 3]
    with open_snapshot("plain.h5") as plain, open_snapshot("mine.h5") as mine:
        assert not plain.verify()
        assert [layer.name for layer in plain.layers] == [layer.name for layer in mine.layers]


def test_the_blocks_about_the_library_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    assert names["tested"].layer.tolist() == ["layer_0", "layer_1", "input"]
    assert "three questions" in Path("digits.html").read_text()
    assert names["stored"].shape[1] == 16
    assert "mlp Are layers compressing? one seed" in capsys.readouterr().out


def test_every_public_name_stands_in_the_table_once() -> None:
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    names = re.findall(r"`(\w+)`", text.partition("| purpose |")[2])
    assert sorted(names) == sorted([*cmp_core.__all__, "cmp_metrics"])
