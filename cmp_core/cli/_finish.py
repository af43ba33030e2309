"""What `cmp run` does after the test: plots, the report, and the last screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from cmp_core.analysis.questions import answers_of
from cmp_core.analysis.runs import as_run_set
from cmp_core.cli._comparison import print_comparison
from cmp_core.cli._pictures import draw_all
from cmp_core.cli._results import exit_code, print_answers, print_failures, print_legend
from cmp_core.config.load import load_config
from cmp_core.console import say
from cmp_core.plotting.plot import Plot
from cmp_core.plotting.render import tasks
from cmp_core.plugins.failures import Failure, write_plugin_errors
from cmp_core.reporting.write import write_report
from cmp_core.runs.directory import PARAMS, PLOTS, REPORT, folder_of_run
from cmp_core.text import counted
from cmp_core.workflow import Outcome


@attrs.frozen(kw_only=True)
class Trained:
    """A run, or replicates, to be drawn and reported.

    Attributes:
        directory: of the run, or the folder of the replicates; the files go there.
        runs: the run directories, of replicates those that are finished.
        plots: those that are selected.
        policy: what happens to a plot that raises.
        failures: what plugins have raised so far.
        tracebacks: the file for what they raised.
        exit_code: so far.
    """

    directory: Path
    runs: Sequence[Path]
    plots: Sequence[Plot]
    policy: str
    failures: Sequence[Failure] = ()
    tracebacks: Path
    exit_code: int

    @classmethod
    def of(cls, outcome: Outcome) -> Trained:
        """Return a run that has been trained and tested here."""
        return cls(
            directory=outcome.directory,
            runs=[outcome.directory],
            plots=outcome.plots,
            policy=load_config(outcome.directory / PARAMS).on_plugin_error,
            failures=outcome.failures,
            tracebacks=outcome.plugin_errors,
            exit_code=exit_code(outcome.failures),
        )


def finish(
    trained: Trained, compared: Sequence[Path] = (), *, research_only: bool, show: bool
) -> int:
    """Draw and report what was trained, beside other runs, and return the exit code."""
    directory, plots, failures = trained.directory, trained.plots, trained.failures
    own = as_run_set(trained.runs)
    runs = as_run_set([*own.runs, *compared]) if compared else own
    if compared or len(own.runs) > 1:
        print_comparison(runs)
    else:
        (answers,) = answers_of(own).values()
        print_answers(answers)
        print_legend(answers)
    chosen = [plot for plot in plots if plot.definition.is_of_questions or not research_only]
    of_all = [
        plot
        for plot in chosen
        if compared and (plot.definition.runs == "several" or plot.definition.answers)
    ]
    of_own = [plot for plot in chosen if plot not in of_all]
    todo = [*tasks(of_own, own), *tasks(of_all, runs)]
    drawn = draw_all(todo, folder_of_run(directory, PLOTS), policy=trained.policy, show=show)
    # What raised as a picture raises in the report again.
    in_report = write_report(runs, plots, directory / REPORT)
    of_plots = [picture.failure for picture in drawn if picture.failure is not None]
    every = [*failures, *(of_plots or in_report)]
    if len(every) > len(failures):
        write_plugin_errors(trained.tracebacks, every)
    count = sum(picture.path is not None for picture in drawn)
    pictures = f", {counted(count, 'picture')} in {PLOTS}" if count else ""
    say(f"files in {directory}: {REPORT}{pictures}")
    print_failures(every, trained.tracebacks)
    return trained.exit_code or exit_code(every)
