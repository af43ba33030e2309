"""Tests of `cmp_core.cli._imports`: what a command's process keeps from garbage collection."""

from __future__ import annotations

import gc
import subprocess
import sys


def frozen_after(*lines: str) -> tuple[int, bool]:
    """Return how many objects a new process has frozen, and whether it collects the others."""
    code = "\n".join(["import gc", "from cmp_core.cli import _imports", *lines])
    code += "\nprint(gc.get_freeze_count(), gc.isenabled())"
    call = [sys.executable, "-c", code]
    count, collects = subprocess.run(
        call, capture_output=True, text=True, check=True
    ).stdout.split()
    return int(count), collects == "True"


def test_imports_of_a_command_are_frozen_and_nothing_that_comes_later() -> None:
    block = "with _imports.importing():\n    import json"
    count, collects = frozen_after("_imports.own_process()", block)
    assert count > 10_000
    assert collects


def test_an_import_that_fails_leaves_collection_on() -> None:
    block = "with _imports.importing():\n        import no_such_module"
    _, collects = frozen_after(
        "_imports.own_process()", f"try:\n    {block}", "except ImportError:\n    pass"
    )
    assert collects


def test_in_a_process_of_others_nothing_is_frozen() -> None:
    assert frozen_after("with _imports.importing():\n    import json") == (0, True)
    assert gc.isenabled()
