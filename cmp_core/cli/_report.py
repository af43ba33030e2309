"""Writing the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.console import out
from cmp_core.runs.directory import write_whole

if TYPE_CHECKING:
    from cmp_core.plotting.plot import Plot
    from cmp_core.plugins.failures import Failure
    from cmp_core.runs.replicates import RunSet

REPORT = "report.html"


def write_report(runs: RunSet, plots: Sequence[Plot], path: Path) -> list[Failure]:
    """Write the page about some runs and return what its plots raised."""
    from cmp_core.report import report_html

    with out().status("writing the report"):
        html, failures = report_html(runs, plots)
    write_whole(path, html)
    return failures
