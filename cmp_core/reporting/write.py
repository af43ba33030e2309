"""Writing the report, and what it rests on that has to be measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from cmp_core.analysis.comparison import comparisons_of
from cmp_core.analysis.questions import answers_of
from cmp_core.analysis.runs import Runs, as_run_set
from cmp_core.analysis.seeds import distinct_seeds
from cmp_core.console import out, warn
from cmp_core.errors import UsageError
from cmp_core.plotting.plot import Plot, load_plots
from cmp_core.plugins.failures import Failure
from cmp_core.reporting.answers import dump_answers
from cmp_core.reporting.page import report_html
from cmp_core.runs.directory import (
    ACTIVATIONS,
    ANSWERS,
    PARAMS,
    REPORT,
    SEED_BASELINE,
    check_folder,
    write_whole,
)
from cmp_core.runs.lock import REPORTING, locked
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet
from cmp_core.runs.seed_baseline import SeedBaseline, dump_seed_baselines

_WAIT_SECONDS = 60.0
"""For another program that writes the page of the same run."""


def report(runs: Runs, path: str | Path | None = None, labels: Sequence[str] = ()) -> Path:
    """Write the page that `cmp report` writes, and return where it is.

    Of plots that raise the page has no pictures, which is warned of.

    Args:
        runs: runs, run directories, snapshot files, or a set of runs.
        path: of the page; none: `report.html` in the only run, or in the current folder.
        labels: one for each run; those of one label are taken as replicates.

    Raises:
        UsageError: what is given is no run, or the page cannot be written there.
    """
    asked = None if path is None else page_at(path)
    run_set = as_run_set(runs, labels)
    target = asked or page_at(run_set.folder / REPORT)
    warn_of_failures(write_report(run_set, load_plots(), target))
    return target


def page_at(path: str | Path) -> Path:
    """Return the path of a page.

    Raises:
        UsageError: no file can be written there.
    """
    target = Path(path)
    if target.is_dir():  # '' is the current one
        raise UsageError(f"expected the name of a file, got the folder '{target}'")
    if not target.parent.is_dir():
        raise UsageError(f"cannot write '{target}': there is no folder '{target.parent}'")
    check_folder(target.parent)
    return target


def warn_of_failures(failures: Iterable[Failure]) -> None:
    """Warn of each plugin that raised, once."""
    for failure in {failure.plugin: failure for failure in failures}.values():
        warn(f"plugin {failure.plugin} raised in {failure.hook}: {failure.error}")


def write_report(runs: RunSet, plots: Sequence[Plot], path: Path) -> list[Failure]:
    """Write the page about some runs and return what its plots raised.

    The answers are stored beside it, and so is how far layers differ from those of another seed,
    which is measured before.

    Raises:
        UsageError: another program writes the page of this run, and does not come to an end.
    """
    with out().status("writing the report"):
        baselines = {
            group.label: _seed_baseline(seeds)
            for group in runs.groups
            if len(seeds := distinct_seeds(group.runs, notes=[])) > 1
        }
        html, failures = report_html(runs, plots, baselines, path.parent.absolute())
        answers = dump_answers(answers_of(runs), comparisons_of(runs))
    stored = path.with_suffix(SEED_BASELINE)
    name = ANSWERS if path.name == REPORT else f"{path.stem}.{ANSWERS}"
    with ExitStack() as held:
        if (path.parent / PARAMS).is_file():  # files of a run, which belong together
            held.enter_context(locked(path.parent, REPORTING, seconds=_WAIT_SECONDS))
        if baselines:
            write_whole(stored, dump_seed_baselines(baselines))
        else:  # that of an earlier page of this name
            stored.unlink(missing_ok=True)
        write_whole(path.with_name(name), answers)
        write_whole(path, html)
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
