"""Plugins as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.metric_files import METRIC


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a plugin, a metric if no text is given, and returns its path."""

    def write_plugin(name: str, text: str | None = None) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(METRIC.format(name=name) if text is None else text)
        return path

    return write_plugin
