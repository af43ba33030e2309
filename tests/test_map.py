"""Every module of the core has a file of tests that is found by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "cmp_core"

WITHOUT_BEHAVIOUR = ("events/results.py",)
"""Modules that hold plain values and nothing that could be tested."""


def place_of(module: Path) -> Path:
    """Return where a module is tested; a `_` in front, which says who may import it, is dropped."""
    place = module.relative_to(CORE)
    name = "main" if place.stem == "__main__" else place.stem.removeprefix("_")
    return ROOT / "tests" / place.parent / f"test_{name}.py"


MODULES = [
    path
    for path in sorted(CORE.rglob("*.py"))
    if path.name != "__init__.py" and str(path.relative_to(CORE)) not in WITHOUT_BEHAVIOUR
]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_a_module_has_its_tests(module: Path) -> None:
    where = place_of(module)
    assert where.is_file(), f"{module.relative_to(ROOT)} is to be tested in {where}"
    assert "def test_" in where.read_text(encoding="utf-8")
