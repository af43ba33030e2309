"""Tests of `cmp recompute`: which plugins of those that a snapshot names are loaded."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from click.testing import Result

from cmp_core.measurement.recompute import recompute
from cmp_core.measurement.recomputed import Recomputed
from tests.cli.calls import call
from tests.installed import METRIC, install
from tests.snapshots.test_read import by_hand

MARKED = """
import pathlib
from cmp_core import hookimpl, metric

pathlib.Path(__file__).with_suffix(".ran").touch()

@metric("mine")
def mine(view):
    '''The mean activation.'''
    return view.activations.mean()

@hookimpl
def cmp_register_metrics(register):
    register(mine)
"""
"""A metric whose import leaves a mark."""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """A snapshot whose configuration names a plugin that lies beside it, and is importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own.py", "cmp:own.py"):
        (tmp_path / name).write_text(MARKED)

    def with_plugin(spec: str, metrics: str) -> Path:
        path = by_hand(tmp_path / "x.h5")
        with h5py.File(path, "a") as file:
            file.attrs["run_id"] = "0001"
            file.attrs["config"] = f"plugins: [{spec}]\nmetrics: {metrics}"
        return path

    return with_plugin


def json_lines(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def was_executed(folder: Path) -> bool:
    return any(folder.glob("*.ran"))


@pytest.mark.parametrize(
    "spec", ["own.py", "./own.py", "own", "cmp:own", "cmp:../own", "'cmp:own.py'", "antigravity"]
)
@pytest.mark.parametrize("workers", [1, None])
def test_a_file_chooses_no_code(
    foreign: Callable[[str, str], Path], tmp_path: Path, spec: str, workers: int | None
) -> None:
    path = foreign(spec, "[margin, mine, {name: mine, label: again}, no:mine]")
    (result,) = recompute([path], workers=workers)
    assert result.error is None
    assert {row.metric for row in result.rows} == {"margin"}
    name = spec.strip("'")
    told = "plugin named by the file, and loaded only when asked for"
    assert result.notes == (f"metrics left out: mine; {told}: add -p {name}",)
    assert not was_executed(tmp_path)


def test_what_was_not_loaded_is_said_once(
    foreign: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = foreign("own.py, also here/it.py", "[margin, mine]")
    shutil.copy(path, tmp_path / "y.h5")
    done = call("recompute", path, tmp_path / "y.h5", "--json", "--workers", 1)
    assert done.exit_code == 0
    assert {record["metric"] for record in json_lines(done)} == {"margin"}
    assert done.stderr == (
        "warning: metrics left out: mine; plugins named by the file, and loaded only when asked "
        "for: add -p own.py -p 'also here/it.py'\n"
    )


@pytest.fixture
def kept(foreign: Callable[[str, str], Path], tmp_path: Path) -> Path:
    """A run directory that keeps the plugin of its snapshot, whose original is gone."""
    run = tmp_path / "run"
    for folder in ("activations", "plugins"):
        (run / folder).mkdir(parents=True)
    foreign("/gone/mine.py", "[margin, mine]").rename(run / "activations" / "x.h5")
    (run / "plugins" / "mine.py").write_text(MARKED)
    (run / "params.yaml").write_text("model: greedy\n")
    hashes = {"mine": hashlib.sha256(MARKED.encode()).hexdigest()}
    told = {"plugins": hashes, "plugin_packages": {"too": "no-such==1.0"}}
    (run / "environment.json").write_text(json.dumps(told))
    return run


def measured(result: Recomputed) -> set[str]:
    assert result.error is None
    return {row.metric for row in result.rows}


def test_the_copy_of_a_run_is_loaded_when_it_is_asked_for(kept: Path, tmp_path: Path) -> None:
    (without,) = recompute([kept])
    assert measured(without) == {"margin"}
    assert without.notes == (
        "metrics left out: mine; plugin named by the file, and loaded only when asked for: add "
        f"-p /gone/mine.py or to cmp recompute --plugins-from-run, which runs the code in "
        f"{kept / 'plugins'}; plugins that the run had and that are missing: too (pip install "
        "no-such==1.0)",
    )
    assert not was_executed(kept / "plugins")
    (result,) = recompute([kept], plugins_from_run=True)
    assert (measured(result), result.notes) == ({"margin", "mine"}, ())
    assert was_executed(kept / "plugins")
    for asked in ("margin", "mine"):  # a copy is there to be selected, and selects nothing
        (result,) = recompute([kept], [asked], plugins_from_run=True)
        assert measured(result) == {asked}
    (tmp_path / "mine.py").write_text(MARKED.replace('"mine"', '"other"'))
    (result,) = recompute([kept], ["other"], [str(tmp_path / "mine.py")], plugins_from_run=True)
    assert measured(result) == {"other"}


def test_a_copy_that_was_edited_or_is_of_no_run_is_not_loaded(kept: Path) -> None:
    (kept / "plugins" / "mine.py").write_text(MARKED + "\n")
    done = call("recompute", kept, "--plugins-from-run")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is not the file that the run was made with, and is not run" in done.stderr
    assert not was_executed(kept / "plugins")
    (kept / "params.yaml").unlink()
    done = call("recompute", kept / "activations" / "x.h5", "--plugins-from-run")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is not a run directory" in done.stderr


@pytest.mark.parametrize("option", [["-p", "own.py"], ["--plugins-dir", "."]])
def test_a_file_s_plugin_that_is_asked_for_is_loaded(
    foreign: Callable[[str, str], Path], tmp_path: Path, option: list[str]
) -> None:
    (tmp_path / "cmp:own.py").unlink()
    done = call(
        "recompute", foreign("/gone/own.py", "[margin, mine]"), "--json", "--workers", 1, *option
    )
    assert (done.exit_code, done.stderr) == (0, "")
    assert {record["metric"] for record in json_lines(done)} == {"margin", "mine"}
    assert was_executed(tmp_path)


@pytest.mark.parametrize(
    ("plugins", "metrics", "measured"),
    [
        ("cmp:dead_units", "[margin, dead_units]", {"margin", "dead_units"}),
        ("no:margin", "all", {"accuracy"}),
        ("no:gone, no:own", "[margin]", {"margin"}),
        ("own.py", "[no:mine]", {"margin", "accuracy"}),
        ("own.py", "[mine]", set()),
        ("own.py", "[]", set()),
        ("own.py", "all", {"margin", "accuracy"}),
    ],
)
def test_what_else_a_file_names_is_as_it_says(
    foreign: Callable[[str, str], Path], plugins: str, metrics: str, measured: set[str]
) -> None:
    (result,) = recompute([foreign(plugins, metrics)])
    assert result.error is None
    found = {row.metric for row in result.rows}
    assert found >= measured
    assert bool(found) == bool(measured)
    assert ("margin" in found) == ("margin" in measured)
    assert len(result.notes) == ("own.py" in plugins)


def test_of_installed_plugins_a_file_loads_those_that_are_allowed(
    foreign: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "theirs", METRIC.format(marker=str(tmp_path / "it.ran"), name="it"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("CMP_PLUGINS", "")
    path = foreign("theirs", "[margin, it]")
    (left_out,) = recompute([path])
    assert "add -p theirs" in "".join(left_out.notes)
    assert not was_executed(tmp_path)
    monkeypatch.setenv("CMP_PLUGINS", "theirs")
    (loaded,) = recompute([path])
    assert (loaded.notes, {row.metric for row in loaded.rows}) == ((), {"margin", "it"})
