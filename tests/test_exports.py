"""What `cmp_core` exports."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cmp_core", "cmp_core.cli"])
def test_importing_the_core_imports_nothing_that_is_slow(module: str) -> None:
    code = f"import {module}, sys; print(*{{'torch', 'pandas', 'matplotlib'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_every_export_exists() -> None:
    import cmp_core

    assert set(cmp_core.__all__) <= set(dir(cmp_core))
    for name in cmp_core.__all__:
        assert getattr(cmp_core, name) is not None
    with pytest.raises(AttributeError, match="No cmp_core attribute nothing"):
        _ = cmp_core.nothing
