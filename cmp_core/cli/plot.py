"""`cmp plot`: pictures of one run or several."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cmp_core.cli._options import picture_options, plugin_options, split_labels
from cmp_core.errors import UsageError, unknown

ALL = "all"


class _PlotCommand(click.Command):
    """A command whose help lists the plots that are installed."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from cmp_core.plugins.loader import load_plugins
        from cmp_core.plugins.registry import definition_of

        registry = load_plugins(built_ins=("cmp_plots",)).registry
        names = registry.names("plot")
        summaries = [
            definition_of(registry.get("plot", name).factory, "plot").summary for name in names
        ]
        with formatter.section("Types"):
            formatter.write_dl([(ALL, "Every one of these."), *zip(names, summaries, strict=True)])
        super().format_epilog(ctx, formatter)


@click.command(
    "plot",
    cls=_PlotCommand,
    epilog="""\b
Examples:
  cmp plot all RUN
  cmp plot heatmap RUN --metric probe_accuracy,margin --phase train
  cmp plot timeline RUN --metric margin --layer layer_2 --format svg
  cmp plot architecture_comparison GREEDY_RUN MLP_RUN --metric linear_cka --out figures

\b
Exit codes: 0 done, 2 wrong usage, a run that cannot be read, or nothing to draw,
3 done but a plot raised.""",
)
@click.argument("kind", metavar="TYPE")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--metric", metavar="A,B", help="Metrics, default: all headline metrics.")
@click.option("--layer", metavar="A,B", help="Layers, default: the output layer.")
@click.option(
    "--phase", metavar="A,B", help="val, train, test or batch, default: val, the validation split."
)
@click.option("--normalize", is_flag=True, help="Shares instead of counts, for confusion.")
@picture_options
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the files; default: RUN/plots, or ./plots for several runs.",
)
@plugin_options
def plot_command(
    kind: str,
    runs: tuple[str, ...],
    metric: str | None,
    layer: str | None,
    phase: str | None,
    normalize: bool,
    labels: str | None,
    form: str,
    dpi: int,
    show: bool,
    folder: Path | None,
    plugins: tuple[str, ...],
    plugins_dir: Path | None,
) -> None:
    """Draw one type of plot, or all, of one run or several.

    Runs that differ by seed alone are replicates: their mean and spread are shown. A snapshot file,
    or a folder of them, is measured first, and stands for a test.
    """
    from cmp_core.analysis.runs import as_run_set
    from cmp_core.cli._pictures import choose_backend, draw_all, reasons_of, say_drawn
    from cmp_core.cli._results import exit_code, print_failures
    from cmp_core.plotting.plot import load_plots
    from cmp_core.plotting.render import tasks
    from cmp_core.plugins.failures import write_plugin_errors
    from cmp_core.runs.directory import PLOTS, PLUGIN_ERRORS, check_folder, folder_of_run

    choose_backend(show=show)
    plots = load_plots(plugins, plugins_dir)
    names = [plot.label for plot in plots]
    if kind not in (ALL, *names):
        raise click.UsageError(unknown("plot", kind, (ALL, *names)))
    given = {"metric": metric, "layer": layer, "phase": phase}
    options: dict[str, Any] = {
        name: [part.strip() for part in text.split(",")]
        for name, text in given.items()
        if text is not None
    }
    if normalize:
        options["normalize"] = True
    if kind == ALL:
        chosen = [plot.with_what_it_takes(options) for plot in plots]
    else:
        chosen = [plot.definition(**options) for plot in plots if plot.label == kind]
    run_set = as_run_set(runs, split_labels(labels))
    target = folder or folder_of_run(run_set.folder, PLOTS)
    check_folder(target)
    drawn = draw_all(tasks(chosen, run_set), target, form, dpi, show=show)
    failures = [picture.failure for picture in drawn if picture.failure is not None]
    if not failures and not any(picture.path for picture in drawn):
        raise UsageError("\n  ".join(["there is nothing to draw:", *reasons_of(drawn)]))
    say_drawn(drawn)
    if failures:
        target.mkdir(parents=True, exist_ok=True)
        write_plugin_errors(target / PLUGIN_ERRORS, failures)
        print_failures(failures, target / PLUGIN_ERRORS)
    sys.exit(exit_code(failures))
