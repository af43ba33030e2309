"""Every registered metric against the conformance kit, found through the registry, none by name."""

from __future__ import annotations

from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import Check, each_check
from tests import shipped

REGISTRY = load_plugins(shipped.EXAMPLES).registry


@each_check(*(REGISTRY.get("metric", name).factory for name in REGISTRY.names("metric")))
def test_every_metric_conforms(check: Check) -> None:
    check()
