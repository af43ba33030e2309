"""What `cmp_core` exports."""

from __future__ import annotations

import subprocess
import sys

import pytest


def test_importing_the_core_does_not_import_torch() -> None:
    code = "import cmp_core, sys; assert 'torch' not in sys.modules; cmp_core.metric"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_export_exists() -> None:
    import cmp_core

    assert set(cmp_core.__all__) <= set(dir(cmp_core))
    for name in cmp_core.__all__:
        assert getattr(cmp_core, name) is not None
    with pytest.raises(AttributeError, match="No cmp_core attribute nothing"):
        _ = cmp_core.nothing
