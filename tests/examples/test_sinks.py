"""What the sinks have in common: their library may be missing. Each has tests with the real one."""

from __future__ import annotations

import sys

import pytest

from cmp_core import UsageError
from cmp_core.plugins.loader import load_plugins


@pytest.mark.parametrize("library", ["mlflow", "tensorboard", "wandb"])
def test_a_missing_library_is_told_with_what_installs_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if library in name.split(".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match=f"{library} is not installed: pip install {library}$"):
        load_plugins([f"cmp:{library}_sink"], built_ins=())
