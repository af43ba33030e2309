"""Writing the report, and what it rests on that has to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmp_core.console import out
from cmp_core.runs.directory import ACTIVATIONS, ANSWERS, REPORT, SEED_BASELINE, write_whole
from cmp_core.runs.seed_baseline import SeedBaseline, dump_seed_baselines, read_seed_baselines

if TYPE_CHECKING:
    from cmp_core.plotting.plot import Plot
    from cmp_core.plugins.failures import Failure
    from cmp_core.runs.record import RunRecord
    from cmp_core.runs.replicates import RunSet


def write_report(runs: RunSet, plots: Sequence[Plot], path: Path) -> list[Failure]:
    """Write the page about some runs and return what its plots raised.

    The answers are stored beside it, and so is how far layers differ from those of another seed,
    which is measured before.
    """
    from cmp_core.analysis.comparison import compare
    from cmp_core.analysis.questions import answers_of
    from cmp_core.analysis.seeds import distinct_seeds
    from cmp_core.report import report_html
    from cmp_core.report.answers import dump_answers

    stored = path.with_suffix(SEED_BASELINE)
    with out().status("writing the report"):
        baselines = {
            group.label: _seed_baseline(seeds)
            for group in runs.groups
            if len(seeds := distinct_seeds(group.runs, notes=[])) > 1
        }
        if baselines:
            write_whole(stored, dump_seed_baselines(baselines))
        else:  # that of an earlier page of this name
            stored.unlink(missing_ok=True)
        html, failures = report_html(runs, plots, read_seed_baselines(stored))
    write_whole(path, html)
    name = ANSWERS if path.name == REPORT else f"{path.stem}.{ANSWERS}"
    write_whole(path.with_name(name), dump_answers(answers_of(runs), compare(runs)))
    return failures


def _seed_baseline(replicates: Sequence[RunRecord]) -> SeedBaseline:
    for run in replicates:  # known without torch
        if not any((run.directory / ACTIVATIONS).glob("step_*.h5")):
            return SeedBaseline(reason=f"{run.name} has no snapshots")
    try:
        from cmp_core.analysis.seed_baseline import seed_baseline
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return SeedBaseline(reason="measuring stored activations needs torch")
    return seed_baseline(replicates)
