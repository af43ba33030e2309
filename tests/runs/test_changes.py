"""Tests of `cmp_core.runs.changes`: what a resumed run no longer rests on is told, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from cmp_core import evaluate, resume, run
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import UsageError
from cmp_core.runs.changes import Change, changes, tell_changes
from tests.interruption import interrupt
from tests.run_files import lines

NOW: dict[str, Any] = {
    "python": "3.12.1",
    "packages": {"torch": "2.7.0", "pluggy": "1.7.0"},
    "device": "cpu",
    "threads": 2,
    "plugins": {"mine": "a" * 64},
    "plugin_packages": {"mine": "my-package==2.0"},
    "data": {"train": 8, "val": 1, "test": 1, "sha256": "b" * 64},
}
ONE_BIT_MORE = {"train": 8, "val": 1, "test": 1, "sha256": "c" * 64}
METRIC = """
from cmp_core import hookimpl, metric

@metric("constant", split="mean")
def constant(view):
    '''Says which state of the file measures.'''
    return view.activations.mean(1) * 0 + {value}

@hookimpl
def cmp_register_metrics(register):
    register(constant)
"""


def test_nothing_has_changed_where_all_is_as_it_was() -> None:
    assert changes(NOW, NOW) == []


@pytest.mark.parametrize(
    ("before", "what", "decides"),
    [
        ({"packages": {"torch": "2.6.0"}}, "torch 2.6.0 is 2.7.0 now", True),
        ({"packages": {"pluggy": "1.6.0"}}, "pluggy 1.6.0 is 1.7.0 now", False),
        ({"plugins": {"mine": "c" * 64}}, "the file of the plugin mine has been edited", True),
        ({"plugins": NOW["plugins"] | {"gone": "a"}}, "the plugin gone is not loaded now", True),
        (
            {
                "plugins": NOW["plugins"] | {"gone": "a"},
                "plugin_packages": {"gone": "gone-away==1.0"},
            },
            "the plugin gone is not loaded now (pip install gone-away==1.0)",
            True,
        ),
        (
            {"plugins": {"mine": "c" * 64}, "plugin_packages": {"mine": "my-package==1.0"}},
            "of the plugin mine, my-package==1.0 is my-package==2.0 now",
            True,
        ),
        ({"data": ONE_BIT_MORE}, "the data are others: labels now", True),
        ({"plugins": {}}, "the plugin mine is new", False),
        ({"params": "c" * 64}, "params.yaml has been edited", True),
        ({"device": "cuda"}, "device cuda is cpu now", False),
        ({"threads": 8}, "threads 8 is 2 now", False),
        (
            {"data": ONE_BIT_MORE | {"val": 2}},
            "the data are others: train, val and test samples [8, 2, 1] are [8, 1, 1] now",
            True,
        ),
    ],
)
def test_each_change_is_named(before: dict[str, Any], what: str, *, decides: bool) -> None:
    assert changes(NOW | before, NOW) == [Change(what, decides)]


@pytest.mark.parametrize("odd", [None, 3, "text", [1]])
@pytest.mark.parametrize("name", ["packages", "plugins", "plugin_packages", "data"])
def test_what_an_old_or_damaged_file_does_not_tell_is_not_compared(name: str, odd: object) -> None:
    assert changes({name: odd}, NOW) == []


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(METRIC.format(value=1))
    return path


@pytest.fixture
def interrupted(tiny: Config, plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = attrs.evolve(
        tiny, metrics=(Selection("constant", "constant"),), plugins=(str(plugin),)
    )
    return interrupt(config, 5, monkeypatch)


def content(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory / "environment.json").read_text())
    return loaded


def test_a_plugin_that_was_edited_is_refused_and_nothing_written(
    interrupted: Path, plugin: Path
) -> None:
    plugin.write_text(METRIC.format(value=2))
    before = {path.name: path.read_bytes() for path in interrupted.glob("*.*")}
    with pytest.raises(UsageError, match=r"the plugin mine has been edited.*--allow-changes"):
        resume(interrupted)
    assert {path.name: path.read_bytes() for path in interrupted.glob("*.*")} == before


def test_where_it_is_allowed_it_is_told_once_and_noted(
    interrupted: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.write_text(METRIC.format(value=2))
    command = content(interrupted)["command"]
    outcome = resume(interrupted, allow_changes=True)
    told = "the file of the plugin mine has been edited"
    assert capsys.readouterr().err.count(told) == 1
    assert outcome.results["metrics"]["layer_0"]["constant"] == 2
    noted = content(interrupted)
    assert noted["changes"] == [{"step": 5, "what": [told]}]
    assert noted["command"] == command
    resume(interrupted)  # which compares with the state of the file that was allowed
    assert capsys.readouterr().err == ""


def test_with_the_copies_of_a_run_its_plugins_may_be_edited_or_gone(
    interrupted: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.write_text(METRIC.format(value=2))
    with pytest.raises(UsageError, match=r"edited.*by --plugins-from-run, which runs"):
        resume(interrupted)
    plugin.unlink()
    with pytest.raises(UsageError, match="--plugins-from-run runs the copy"):
        resume(interrupted)
    outcome = resume(interrupted, plugins_from_run=True)
    again = evaluate(interrupted, plugins_from_run=True)
    assert capsys.readouterr().err == ""
    assert again.results == outcome.results
    assert outcome.results["metrics"]["layer_0"]["constant"] == 1
    assert "changes" not in content(interrupted)
    plugin.write_text(METRIC.format(value=2))
    resume(interrupted, allow_changes=True)  # the run rests on that from here on, and keeps it
    assert (interrupted / "plugins" / "mine.py").read_text() == METRIC.format(value=2)
    plugin.unlink()
    assert evaluate(interrupted, plugins_from_run=True).results["metrics"]["layer_0"] != {}


def test_a_configuration_that_was_edited_is_refused(interrupted: Path) -> None:
    """What `--set` may not change, an editor may not either."""
    params = interrupted / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("lr: 0.001", "lr: 0.1"))
    assert params.read_text() != text
    with pytest.raises(UsageError, match=r"params\.yaml has been edited.*--allow-changes"):
        resume(interrupted)
    params.write_text(text)
    resume(interrupted, settings=["data_dir=elsewhere"])


@pytest.mark.parametrize("damage", ["x", None])
def test_that_nothing_can_be_compared_is_told(
    interrupted: Path, capsys: pytest.CaptureFixture[str], damage: str | None
) -> None:
    path = interrupted / "environment.json"
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    resume(interrupted)
    told = capsys.readouterr().err
    assert "whether anything has changed since the run was begun cannot be told" in told
    assert content(interrupted)["plugins"].keys() == {"mine"}


def test_missing_descriptions_of_metrics_hide_no_change(interrupted: Path, plugin: Path) -> None:
    (interrupted / "metrics.json").unlink()
    plugin.write_text(METRIC.format(value=2))
    with pytest.raises(UsageError, match="the plugin mine has been edited"):
        resume(interrupted)


def test_a_test_with_an_edited_plugin_is_told(
    tiny: Config, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = attrs.evolve(
        tiny, metrics=(Selection("constant", "constant"),), plugins=(str(plugin),)
    )
    directory = run(config).directory
    plugin.write_text(METRIC.format(value=2))
    evaluate(directory)
    assert "the file of the plugin mine has been edited" in capsys.readouterr().err
    assert "changes" not in content(directory)


def test_many_and_long_changes_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = {f"package_{i}": "1\n" + "0" * 10**5 for i in range(10**3)}
    (tmp_path / "environment.json").write_text(json.dumps({"packages": packages}))
    tell_changes(tmp_path, {"packages": dict.fromkeys(packages, "2")})
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("warning: since the run was begun: package_0 1; package_1 1; ")
    assert told.endswith("; 980 more")


def test_a_run_goes_on_with_its_own_number_of_threads(interrupted: Path) -> None:
    stored = content(interrupted)
    own = torch.get_num_threads()
    used: list[int] = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda *_: used.append(torch.get_num_threads())
    )
    path = interrupted / "environment.json"
    path.write_text(json.dumps(stored | {"threads": own + 1}))
    try:
        resume(interrupted)
    finally:
        hook.remove()
    assert set(used) == {own + 1}
    assert torch.get_num_threads() == own
    assert content(interrupted)["threads"] == own + 1


@pytest.mark.parametrize("name", ["metrics.json", "environment.json"])
def test_what_a_killed_run_has_not_written_is_written(interrupted: Path, name: str) -> None:
    whole = json.loads((interrupted / name).read_text())
    (interrupted / name).unlink()
    resume(interrupted)
    again = json.loads((interrupted / name).read_text())
    assert again == whole


def test_a_run_that_begins_again_notes_what_it_begins_with(
    interrupted: Path, plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a checkpoint no number rests on the plugin as it was."""
    (interrupted / "last.pt").unlink()
    plugin.write_text(METRIC.format(value=2))
    before = content(interrupted)["plugins"]
    assert resume(interrupted).results["metrics"]["layer_0"]["constant"] == 2
    assert capsys.readouterr().err == ""
    assert content(interrupted)["plugins"] != before
    values = {line["metrics"]["layer_0"]["constant"] for line in lines(interrupted) if "n" in line}
    assert values == {2}
