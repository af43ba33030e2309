"""The group `cmp`: its commands, those of installed plugins among them."""

from __future__ import annotations

import signal
import sys
from functools import cached_property
from importlib import metadata
from io import TextIOWrapper
from typing import Any

import click

from cmp_core.cli._errors import ending
from cmp_core.cli._unknown import NamingGroup
from cmp_core.cli.compare import compare_command
from cmp_core.cli.eval import eval_command
from cmp_core.cli.info import info_command
from cmp_core.cli.list import list_command
from cmp_core.cli.plot import plot_command
from cmp_core.cli.plugins import plugins_command
from cmp_core.cli.recompute import recompute_command
from cmp_core.cli.report import report_command
from cmp_core.cli.run import run_command
from cmp_core.cli.train import train_command
from cmp_core.errors import CmpError
from cmp_core.plugins.interruption import Interruption

_GIVING_UP = ("strict", "surrogateescape")
"""How standard output takes characters that its encoding lacks; the latter in the locale C."""


class _Group(NamingGroup):
    """The group of all commands, which may raise `CmpError`.

    The commands of installed plugins are looked for when there is no built-in one of a name, and
    for the help.
    """

    @cached_property
    def installed(self) -> dict[str, click.Command]:
        """The commands that installed plugins add."""
        from cmp_core.console import warn
        from cmp_core.plugins.commands import load_commands

        try:
            commands, broken = load_commands(self.commands)
        except CmpError as error:
            warn(str(error))
            return {}
        for plugin in broken:
            warn(str(plugin))
        return commands

    def has(self, name: str) -> bool:
        """Return whether there is a command of a name."""
        return name in self.commands or name in self.installed

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self.installed})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.commands.get(name) or self.installed.get(name)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with ending():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in _GIVING_UP:
            # What its encoding lacks, such as − in Latin-1, is shown by its code, as on stderr.
            sys.stdout.reconfigure(errors="backslashreplace")
        with ending(), Interruption().heeded([signal.SIGINT]):
            return super().invoke(ctx)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Called with a file or a POSIX option first (cmp -s A B), it is the POSIX cmp.",
)
@click.version_option(metadata.version("chain-of-metric-predictors"), prog_name="cmp")
def cli() -> None:
    """See, layer by layer, what a neural network has learned.

    \b
    cmp run                      train a greedy net on the digits and measure it, in seconds
    cmp run -c greedy_mnist      the same on MNIST; any preset's name or YAML file
    cmp train                    the same without test, plots and report
    cmp eval RUN                 test a run's best weights again
    cmp plot all RUN             draw a run again, or several: cmp plot all RUN RUN
    cmp compare RUN RUN          runs side by side: a table and pictures
    cmp report RUN               one page: results, and the three questions answered
    cmp recompute RUN            measure its stored activations again, with any metric
    cmp list                     the runs there are: state, accuracy, what tells them apart
    cmp info RUN                 what a run or a snapshot holds
    cmp plugins                  what can be selected; new and check for plugins of one's own
    """


for _command in (
    run_command,
    train_command,
    eval_command,
    plot_command,
    compare_command,
    report_command,
    recompute_command,
    info_command,
    list_command,
    plugins_command,
):
    cli.add_command(_command)
