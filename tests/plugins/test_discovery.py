"""Tests of `cmp_core.plugins.discovery`: what source alone tells of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmp_core.events.hookspecs import COMMANDS, REGISTRATIONS
from cmp_core.plugins.discovery import KINDS, is_known_here, kinds_in, list_plugins
from cmp_core.plugins.loader import load_plugins
from tests.installed import install


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


def test_every_registration_hook_has_a_kind() -> None:
    assert set(KINDS) == {*REGISTRATIONS, COMMANDS}


def test_hooks_that_are_imported_count(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text("from elsewhere import metrics as cmp_register_metrics, cmp_run_finished\n")
    assert kinds_in(path) == ("metric", "events")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("from cmp_core import metric\n@metric('a')\ndef a(view): ...", ("metric",)),
        ("from cmp_core import plot as p\n@p('a', file='a')\ndef a(view): ...", ("plot",)),
        ("import cmp_core\n@cmp_core.metric('a')\nclass A: ...", ("metric",)),
        ("import cmp_core as c\n@c.plot('a', file='a')\ndef a(view): ...", ("plot",)),
        ("from cmp_core import *\n@metric('a')\ndef a(view): ...", ("metric",)),
        ("from other import metric\n@metric('a')\ndef a(view): ...", ()),
        ("from cmp_core import metric\n@metric\ndef a(view): ...", ()),
        ("from cmp_core import metric\nimport app\n@app.metric('a')\ndef a(view): ...", ()),
    ],
)
def test_decorators_of_cmp_core_count(tmp_path: Path, text: str, kinds: tuple[str, ...]) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(text)
    assert kinds_in(path) == kinds


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


@pytest.mark.parametrize(
    ("spec", "is_known"),
    [
        ("accuracy", True),
        ("heatmap_plot", True),
        ("digits", True),
        ("cmp:dead_units", True),
        ("no:accuracy", True),
        ("no:gone", False),
        ("no:cmp:dead_units", False),
        ("no:no:accuracy", False),
        ("cmp:gone", False),
        ("cmp:../plugins/dead_units", False),
        ("heatmap", False),
        ("mine.py", False),
        ("json", False),
        ("cmp_metrics.accuracy", False),
        ("", False),
    ],
)
def test_what_anyone_may_ask_for_is_known_by_its_name(spec: str, is_known: bool) -> None:
    assert is_known_here(spec) == is_known
