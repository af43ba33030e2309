"""The documents say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import cmp_core
from cmp_core import load_run, run
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
        default = json.dumps(defaults[field.name], ensure_ascii=False)
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


def test_the_blocks_about_observing_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "observe.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/observe.md", "exec"), names)
    assert len(load_run("runs/resnet18").test_accuracies) == 5
    assert load_run("runs/resnet18_seed_0").seed == 0
    assert "second linear_cka 0." in capsys.readouterr().out


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
