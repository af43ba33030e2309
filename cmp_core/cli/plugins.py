"""`cmp plugins`: what plugins there are, a new one from a template, and the conformance kit."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cmp_core.cli._unknown import NamingGroup


@click.group(
    "plugins",
    cls=NamingGroup,
    invoke_without_command=True,
    epilog="""\b
Examples:
  cmp plugins
  cmp plugins -v
  cmp plugins new metric class_cosine
  cmp plugins check class_cosine.py
  cmp run -p class_cosine.py""",
)
@click.option("-v", "--verbose", is_flag=True, help="Import them, and add what each does.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
@click.pass_context
def plugins_command(ctx: click.Context, verbose: bool, as_json: bool) -> None:
    """List the plugins that are built in, installed, or shipped as examples.

    Without -v nothing is imported: kinds are read from the source, and a plugin whose import fails
    is found out by -v alone.
    """
    if ctx.invoked_subcommand is None:
        _list(verbose=verbose, as_json=as_json)


@plugins_command.command("list")
@click.option("-v", "--verbose", is_flag=True, help="Import them, and add what each does.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array instead of a table.")
def list_command(verbose: bool, as_json: bool) -> None:
    """The same as `cmp plugins` alone."""
    _list(verbose=verbose, as_json=as_json)


@plugins_command.command(
    "new",
    epilog="""\b
Examples:
  cmp plugins new metric class_cosine
  cmp plugins new plot losses --out plugins
  cmp plugins new rule hebbian
  cmp plugins new metric class_cosine --package""",
)
@click.argument("kind", type=click.Choice(["metric", "plot", "dataset", "model", "rule"]))
@click.argument("name")
@click.option("--package", is_flag=True, help="Write an installable project around it.")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    metavar="DIR",
    help="Where to write; default: the current folder.",
)
def new_command(kind: str, name: str, package: bool, folder: Path) -> None:
    """Write a working plugin NAME.py and its test, to start from; a rule is a learning rule.

    Nothing that is there is overwritten.
    """
    from importlib.util import find_spec

    from cmp_core.console import say
    from cmp_core.plugins.scaffold import write_plugin

    written = write_plugin(kind, name, folder, package=package)
    for path in written:
        say(f"wrote {path}")
    if package:
        project = written[0].parents[1]
        # pip takes a bare word for a name on an index.
        say(f"next: pip install {project if project.is_absolute() else f'./{project}'}")
    else:
        say(f"next: cmp plugins check {written[0]}")
        if find_spec("pytest") is None:
            say(f"{written[1]} needs pytest: pip install pytest")


@plugins_command.command(
    "check",
    epilog="""\b
Examples:
  cmp plugins check my_metric.py
  cmp plugins check cmp:neural_collapse my_package.plugin
  cmp plugins check my_metric.py --expect-fail "keeps to its bounds=1 + 1e-7 by rounding"

\b
Exit codes: 0 all checks passed or failed as expected, 1 some did not, 2 the plugin cannot be
loaded or there is no check of a name that is expected to fail.""",
)
@click.argument("plugins", nargs=-1, required=True, metavar="PLUGIN...")
@click.option(
    "--expect-fail",
    "expected",
    multiple=True,
    metavar="CHECK=REASON",
    help="This check fails, and that is known; it is an error where it passes. CHECK is its name, "
    "of all metrics and plots, or 'metric: name', as it is printed. Repeatable.",
)
def check_command(plugins: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Run the conformance kit on what plugins register, and show what failed, and on what.

    PLUGIN is what `-p` takes: a file, a module, an example (cmp:NAME), or an installed one's name.
    """
    from cmp_core.cli._checks import check_plugins

    reasons: dict[str, str] = {}
    for text in expected:
        name, sign, reason = text.partition("=")
        if not sign:
            raise click.UsageError(f"--expect-fail: expected CHECK=REASON, got '{text}'")
        reasons[name.strip()] = reason.strip()
    sys.exit(check_plugins(plugins, reasons))


def _list(*, verbose: bool, as_json: bool) -> None:
    from cmp_core.cli._plugins import print_plugins

    print_plugins(verbose=verbose, as_json=as_json)
