"""Tests of `cmp_core.plugins.fingerprints`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cmp_core.plugins.fingerprints import fingerprints
from cmp_core.plugins.loader import load_plugins

LISTENER = """
from cmp_core import hookimpl

@hookimpl
def cmp_run_finished():
    pass
"""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_and_examples_are_told_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(LISTENER)
    plugins = load_plugins([str(path), "cmp:sparsity"])
    found = fingerprints(plugins)
    assert found["mine"] == sha256(path)
    example = Path(plugins.origins[next(name for name in found if name != "mine")])
    assert example.name == "sparsity.py"
    assert set(found.values()) == {sha256(path), sha256(example)}
    path.write_text(LISTENER + "# another line\n")
    assert fingerprints(load_plugins([str(path)]))["mine"] == sha256(path) != found["mine"]


def test_what_is_built_in_has_the_version_of_cmp() -> None:
    assert fingerprints(load_plugins()) == {}
