"""From the options of `cmp run` and `cmp train` to a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.config.load import load_config
from cmp_core.errors import UsageError

if TYPE_CHECKING:
    from cmp_core.workflow import Outcome


def train(
    source: str | None,
    settings: tuple[str, ...],
    asked: Mapping[str, object],
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
    no_snapshots: bool,
    resumed: str | None,
    allow_changes: bool,
    *,
    tests: bool = True,
) -> Outcome:
    """Train a new run, or go on with one; `asked` are values of keys, none where not given."""
    overrides = {key: value for key, value in asked.items() if value is not None}
    if no_snapshots:
        overrides["snapshots"] = None
    if resumed and (source or overrides or plugins or plugins_dir):
        raise UsageError(
            "--resume goes on with the run's own params.yaml: only --set and --allow-changes may "
            "be given"
        )
    if allow_changes and not resumed:
        raise UsageError("--allow-changes is for --resume")
    config = None if resumed else load_config(source, settings, plugins, **overrides)

    from cmp_core import workflow

    if config is None:
        return workflow.resume(str(resumed), settings, tests=tests, allow_changes=allow_changes)
    return workflow.run(config, plugins_dir, tests=tests)
