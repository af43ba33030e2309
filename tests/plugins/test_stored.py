"""Tests of `cmp_core.plugins.stored`: what a run keeps of its plugins, and what of it is run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.errors import UsageError
from cmp_core.plugins.fingerprints import fingerprints, packages
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.stored import (
    copies_of,
    keep_plugins,
    missing_packages,
    plugins_basis,
    stand_ins,
)
from tests.plugins.metric_files import METRIC
from tests.small_runs import posix

MINE = METRIC.format(name="mine")


@pytest.fixture
def original(write: Callable[..., Path]) -> Path:
    return write("mine")


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A run directory that keeps a plugin."""
    directory = tmp_path / "run"
    directory.mkdir()
    plugins = load_plugins([str(original), "cmp:sparsity"], built_ins=())
    keep_plugins(plugins, directory)
    (directory / "environment.json").write_text(json.dumps(plugins_basis(plugins)))
    return directory


def test_files_are_kept_as_they_were_executed_and_examples_are_not(
    original: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    folder = write("of_a_folder").parent
    plugins = load_plugins([str(original), "cmp:sparsity"], folder, built_ins=())
    original.write_text("raise RuntimeError('edited meanwhile')")
    keep_plugins(plugins, tmp_path)
    kept = {path.name: path.read_text() for path in (tmp_path / "plugins").iterdir()}
    assert kept == {"mine.py": MINE, "of_a_folder.py": METRIC.format(name="of_a_folder")}
    assert fingerprints(plugins)["mine"] == hashlib.sha256(MINE.encode()).hexdigest()


def test_without_files_there_is_no_folder(tmp_path: Path) -> None:
    keep_plugins(load_plugins(["cmp:sparsity"], built_ins=()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_copies_stand_in_for_what_the_run_names(run: Path, original: Path) -> None:
    original.unlink()
    specs = [str(original), "cmp:sparsity", "no:margin"]
    copies = stand_ins(run, specs, asked=True)
    assert copies == {str(original): run / "plugins" / "mine.py"}
    loaded = load_plugins([str(original)], built_ins=(), copies=copies)
    assert loaded.registry.names("metric") == ["mine"]
    assert loaded.named == ()
    assert loaded.specs == (str(original),)


def test_without_the_flag_nothing_stands_in_and_a_file_that_is_gone_names_it(
    run: Path, original: Path
) -> None:
    assert stand_ins(run, [str(original)], asked=False) == {}
    original.unlink()
    with pytest.raises(UsageError, match=r"is gone; --plugins-from-run runs the copy.*read it"):
        stand_ins(run, [str(original)], asked=False)
    (run / "plugins" / "mine.py").unlink()
    with pytest.raises(UsageError, match=r"is gone, and '.*' keeps no copy of it"):
        stand_ins(run, [str(original)], asked=False)
    with pytest.raises(UsageError, match=r"--plugins-from-run: '.*' keeps no copy of the plugin"):
        stand_ins(run, [str(original)], asked=True)


def edited(copy: Path) -> None:
    copy.write_text(MINE + "\n")


def linked(copy: Path) -> None:
    copy.rename(copy.parent.parent / "elsewhere.py")
    copy.symlink_to(copy.parent.parent / "elsewhere.py")


def in_a_linked_folder(copy: Path) -> None:
    copy.parent.rename(copy.parent.parent / "elsewhere")
    copy.parent.symlink_to(copy.parent.parent / "elsewhere")


def piped(copy: Path) -> None:
    copy.unlink()
    os.mkfifo(copy)


def foldered(copy: Path) -> None:
    copy.unlink()
    copy.mkdir()


def unhashed(copy: Path) -> None:
    (copy.parent.parent / "environment.json").write_text("{")


@posix
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (edited, "is not the file that the run was made with, and is not run: expected the SHA"),
        (linked, "mine.py' is a link, and cmp runs no code through one"),
        (in_a_linked_folder, "plugins' is a link, and cmp runs no code through one"),
        (piped, "cannot be read: expected a regular file, got a pipe"),
        (foldered, "cannot be read: Is a directory"),
        (unhashed, "without the hashes of the plugins none is run"),
    ],
)
def test_a_copy_that_is_not_what_was_kept_is_refused(
    run: Path, damage: Callable[[Path], None], why: str
) -> None:
    damage(run / "plugins" / "mine.py")
    with pytest.raises(UsageError) as caught:
        copies_of(run)
    assert str(caught.value).startswith("--plugins-from-run: ")
    assert why in str(caught.value)


def test_no_name_leads_out_of_the_folder(run: Path) -> None:
    outside = run / "mine.py"
    outside.write_text(MINE)
    hashes = {"../mine": hashlib.sha256(MINE.encode()).hexdigest(), "\0": "", "": ""}
    (run / "environment.json").write_text(json.dumps({"plugins": hashes}))
    assert copies_of(run) == {}


def test_nothing_is_written_through_a_link(run: Path, original: Path, tmp_path: Path) -> None:
    in_a_linked_folder(run / "plugins" / "mine.py")
    with pytest.raises(UsageError, match="is a link, and cmp writes through none"):
        keep_plugins(load_plugins([str(original)], built_ins=()), run)


def test_packages_of_plugins_are_told_and_how_to_have_them_again(
    site: Path, original: Path, tmp_path: Path
) -> None:
    assert packages(load_plugins([str(original)])) == {"good": "good-dist==1.0"}
    (site / "good_dist-1.0.dist-info" / "entry_points.txt").unlink()
    (site / "good_dist-1.0.dist-info" / "top_level.txt").write_text("good_module")
    assert packages(load_plugins(["good_module"])) == {"good_module": "good-dist==1.0"}
    told = {"good": "good-dist==1.0", "gone": "gone-away==2.0", "evil": "-r x", "odd": 3}
    (tmp_path / "environment.json").write_text(json.dumps({"plugin_packages": told}))
    assert missing_packages(tmp_path) == (
        "plugins that the run had and that are missing: gone (pip install gone-away==2.0)"
    )
