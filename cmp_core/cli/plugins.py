"""`cmp plugins`: what plugins there are, a new one from a template, and the conformance kit."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group(
    "plugins",
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
  cmp plugins new metric class_cosine --package""",
)
@click.argument("kind", type=click.Choice(["metric", "plot", "dataset"]))
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
    """Write a working plugin NAME.py of KIND and its test, to start from.

    Nothing that is there is overwritten.
    """
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


@plugins_command.command(
    "check",
    epilog="""\b
Examples:
  cmp plugins check my_metric.py
  cmp plugins check cmp:neural_collapse my_package.plugin

\b
Exit codes: 0 all checks passed, 1 some failed, 2 the plugin cannot be loaded.""",
)
@click.argument("plugins", nargs=-1, required=True, metavar="PLUGIN...")
def check_command(plugins: tuple[str, ...]) -> None:
    """Run the conformance kit on what plugins register, and show what failed, and on what.

    PLUGIN is what `-p` takes: a file, a module, an example (cmp:NAME), or an installed one's name.
    """
    from cmp_core.cli._checks import check_plugins

    sys.exit(check_plugins(plugins))


def _list(*, verbose: bool, as_json: bool) -> None:
    from cmp_core.cli._plugins import print_plugins

    print_plugins(verbose=verbose, as_json=as_json)
