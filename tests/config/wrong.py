"""Configurations that are wrong."""

from __future__ import annotations

import pytest

from cmp_core.config.load import (
    build_config,
)
from cmp_core.errors import ConfigError


def problems(**values: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        build_config(values)
    return caught.value.problems
