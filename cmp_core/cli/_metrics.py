"""The text that `--metrics` takes."""

from __future__ import annotations

from cmp_core.config_io import parse_yaml


def metric_list(text: str) -> object:
    """Return the value that `metrics:` would have in YAML."""
    return "all" if text == "all" else parse_yaml(f"[{text}]", "--metrics")
