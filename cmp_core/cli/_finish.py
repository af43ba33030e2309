"""What `cmp run` does after the test: plots, the report, and the last screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmp_core.analysis.questions import answers_of
from cmp_core.analysis.runs import as_run_set
from cmp_core.cli._comparison import print_comparison
from cmp_core.cli._pictures import draw_all
from cmp_core.cli._results import exit_code, print_answers, print_failures, print_legend, print_test
from cmp_core.config.load import load_config
from cmp_core.console import say
from cmp_core.plotting.render import tasks
from cmp_core.plugins.failures import Failure, write_plugin_errors
from cmp_core.reporting.write import write_report
from cmp_core.runs.directory import PARAMS, PLOTS, REPORT, folder_of_run
from cmp_core.workflow import Outcome


def finish(outcome: Outcome, compared: Sequence[Path], *, research_only: bool, show: bool) -> int:
    """Draw and report a run, beside others where they are given, and return the exit code."""
    print_test(outcome)
    alone = as_run_set([outcome.directory])
    runs = as_run_set([outcome.directory, *compared]) if compared else alone
    if compared:
        print_comparison(runs)
    else:
        (answers,) = answers_of(alone).values()
        print_answers(answers)
        print_legend(answers)
    plots = [plot for plot in outcome.plots if plot.definition.is_of_questions or not research_only]
    of_all = [
        plot
        for plot in plots
        if compared and (plot.definition.runs == "several" or plot.definition.answers)
    ]
    of_one = [plot for plot in plots if plot not in of_all and plot.definition.runs == "any"]
    todo = [*tasks(of_one, alone), *tasks(of_all, runs)]
    policy = load_config(outcome.directory / PARAMS).on_plugin_error
    drawn = draw_all(todo, folder_of_run(outcome.directory, PLOTS), policy=policy, show=show)
    # What raised as a picture raises in the report again.
    in_report = write_report(runs, outcome.plots, outcome.directory / REPORT)
    of_plots = [picture.failure for picture in drawn if picture.failure is not None]
    failures: list[Failure] = [*outcome.failures, *(of_plots or in_report)]
    if len(failures) > len(outcome.failures):
        write_plugin_errors(outcome.plugin_errors, failures)
    count = sum(picture.path is not None for picture in drawn)
    pictures = f", {count} picture{'s' * (count > 1)} in {PLOTS}" if count else ""
    say(f"files in {outcome.directory}: {REPORT}{pictures}")
    print_failures(failures, outcome.plugin_errors)
    return exit_code(failures)
