"""What `cmp plugins` tells of plugins, without importing them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cmp_core.errors import UsageError
from cmp_core.events.hookspecs import COMMANDS, REGISTRATIONS
from cmp_core.plugins.discovery import KINDS, kinds_in, list_plugins
from cmp_core.plugins.loader import load_plugins
from tests.installed import install

METRIC = """
import pathlib

from cmp_core import hookimpl, metric

pathlib.Path({marker!r}).write_text("imported")

@metric({name!r})
def it(view):
    '''The mean activation.'''
    return view.activations.mean()

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed plugins: a good one, and three that are broken in different ways."""
    folder = tmp_path / "site"
    marker = str(tmp_path / "imported")
    install(folder, "good", METRIC.format(marker=marker, name="good"))
    install(folder, "unreadable", "def cmp_register_metrics(register:\n")
    install(
        folder, "raises", METRIC.format(marker=marker, name="r") + "\nraise ValueError('no\\nway')"
    )
    install(folder, "gone", "").joinpath("gone_module.py").unlink()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    yield folder
    for name in ("good", "raises"):
        sys.modules.pop(f"{name}_module", None)


def told(*arguments: str) -> dict[str, Any]:
    """What `cmp plugins --json` says, by name."""
    call = [sys.executable, "-m", "cmp_core", "plugins", "--json", *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_all_plugins_are_listed_with_what_they_register(site: Path) -> None:
    listed = {listing.name: listing for listing in list_plugins()}
    assert listed["margin"].kinds == ("metric",)
    assert listed["heatmap_plot"].kinds == ("plot",)
    assert listed["image_folder"].kinds == ("dataset",)
    assert listed["mlp"].kinds == ("model",)
    assert listed["layerwise"].kinds == ("learning rule",)
    assert listed["cmp:tensorboard_sink"].kinds == ("events",)
    assert listed["cmp:sparsity"].state == "example"
    good = listed["good"]
    assert (good.kinds, good.version, good.state) == (("metric",), "1.0", "installed")
    assert good.origin == "good_module (installed by good-dist)"


def test_listing_imports_nothing_and_finds_what_source_alone_can_tell(site: Path) -> None:
    listed = {listing.name: listing for listing in list_plugins()}
    assert not (site.parent / "imported").exists()
    assert listed["unreadable"].state == listed["gone"].state == "broken"
    assert listed["unreadable"].problem.startswith("SyntaxError: ")
    assert listed["gone"].problem == "ModuleNotFoundError: No module named 'gone_module'"
    assert listed["raises"].state == "installed"  # only an import can tell


def test_verbose_imports_and_tells_what_each_does(site: Path) -> None:
    rows = told("-v")
    assert rows["good"]["registers"] == ["good (split: subset): The mean activation."]
    assert rows["margin"]["registers"][0].startswith("margin: ")
    assert rows["cmp:sparsity"]["registers"][0].startswith("sparsity: Mean share")
    assert rows["raises"]["state"] == "broken"
    assert "could not be loaded: ValueError: no" in rows["raises"]["problem"]
    assert "way" not in rows["raises"]["problem"]
    assert "problem" not in rows["good"]
    assert "registers" not in told()["good"]


def test_the_table_has_a_line_for_each(site: Path, cmp: Call) -> None:
    lines = cmp("plugins").stdout.splitlines()
    assert lines[0].split() == ["name", "kind", "version", "state", "origin"]
    (good,) = [line for line in lines if line.startswith("good ")]
    assert (
        " ".join(good.split()) == "good metric 1.0 installed good_module (installed by good-dist)"
    )
    gone = next(i for i, line in enumerate(lines) if line.startswith("gone "))
    assert lines[gone + 1] == "    ModuleNotFoundError: No module named 'gone_module'"


@pytest.mark.parametrize(("listed", "there"), [("good", True), ("", False), (" , ", False)])
def test_the_environment_says_which_installed_plugins_are_loaded(
    site: Path, monkeypatch: pytest.MonkeyPatch, listed: str, there: bool
) -> None:
    monkeypatch.setenv("CMP_PLUGINS", listed)
    loaded = load_plugins()
    assert loaded.broken == ()
    assert ("good" in loaded.registry.names("metric")) is there
    states = {listing.name: listing.state for listing in list_plugins()}
    assert states["good"] == ("installed" if there else "left out")
    assert states["raises"] == "left out"


def test_a_plugin_that_is_named_is_loaded_all_the_same(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMP_PLUGINS", "")
    assert "good" in load_plugins(["good"]).registry.names("metric")


def test_an_installed_plugin_named_by_its_module_is_the_same(site: Path) -> None:
    loaded = load_plugins(["good_module"])
    assert loaded.named == ("good",)
    assert loaded.registry.names("metric").count("good") == 1


def test_a_name_that_is_not_installed_is_told(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMP_PLUGINS", "goood")
    with pytest.raises(UsageError) as caught:
        load_plugins()
    message = "CMP_PLUGINS: unknown installed plugin 'goood'; did you mean 'good'?"
    assert str(caught.value) == message


def test_every_registration_hook_has_a_kind() -> None:
    assert set(KINDS) == {*REGISTRATIONS, COMMANDS}


def test_hooks_that_are_imported_count(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("from elsewhere import metrics as cmp_register_metrics, cmp_run_finished\n")
    assert kinds_in(path) == ("metric", "events")


def test_a_plugin_inside_a_package_is_found_without_its_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install(tmp_path / "site", "deep", "")
    package = site / "outer" / "inner"
    package.mkdir(parents=True)
    (site / "outer" / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text("def cmp_register_plots(register): ...")
    entry = site / "deep_dist-1.0.dist-info" / "entry_points.txt"
    entry.write_text("[cmp.plugins]\ndeep = outer.inner.plugin\n")
    monkeypatch.syspath_prepend(site)
    (deep,) = [listing for listing in list_plugins() if listing.name == "deep"]
    assert (deep.kinds, deep.state) == (("plot",), "installed")


def test_a_plugin_without_hooks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    path.write_text("x = 1\n")
    with pytest.raises(UsageError, match="it implements no hook; a metric, for example"):
        load_plugins([str(path)])
