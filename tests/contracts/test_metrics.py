"""Every registered metric against the conformance kit, found through the registry, none by name."""

from __future__ import annotations

from cmp_core.config.load import shipped_folder
from cmp_core.plugins.loader import load_plugins
from cmp_core.testing import Check, each_check

EXAMPLES = [f"cmp:{path.stem}" for path in shipped_folder("examples", "plugins").glob("[!_]*.py")]
REGISTRY = load_plugins(EXAMPLES).registry


@each_check(*(REGISTRY.get("metric", name).factory for name in REGISTRY.names("metric")))
def test_every_metric_conforms(check: Check) -> None:
    check()
