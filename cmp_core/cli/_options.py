"""Options that several commands have, and the texts that they take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from cmp_core.cli._unknown import Setting
from cmp_core.config.load import parse_yaml, presets
from cmp_core.config.schema import Config

Command = TypeVar("Command", bound=Callable[..., Any])


def selection(text: str | None, option: str) -> object:
    """Return what `metrics:` or `plots:` would have in YAML; none where nothing was given."""
    if text is None or text == "all":
        return text
    return parse_yaml(text if text.startswith("[") else f"[{text}]", option)


def plugin_options(command: Command) -> Command:
    """Add `-p` and `--plugins-dir`."""
    folder = click.option(
        "--plugins-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Load every *.py file of a folder as a plugin.",
    )
    plugin = click.option(
        "-p",
        "--plugin",
        "plugins",
        multiple=True,
        metavar="PLUGIN",
        help="Load a file, a module or an example (cmp:NAME); no:NAME leaves one out. Repeatable.",
    )
    return plugin(folder(command))


def plugins_from_run_option(command: Command) -> Command:
    """Add `--plugins-from-run`."""
    option = click.option(
        "--plugins-from-run",
        is_flag=True,
        help="Load the copies of plugin files that the run keeps in RUN/plugins, and not the "
        "originals: this runs code that lies in the run directory.",
    )
    return option(command)


def training_options(command: Command) -> Command:
    """Add what `cmp run` and `cmp train` have in common."""
    options = (
        click.option(
            "-c", "--config", "source", metavar="CONFIG", help="Preset name or YAML file."
        ),
        click.option(
            "--set",
            "settings",
            type=Setting(tuple(field.name for field in attrs.fields(Config))),
            multiple=True,
            metavar="KEY=VALUE",
            help="Change one key; the value is YAML. Repeatable.",
        ),
        click.option(
            "--metrics",
            metavar="A,B",
            help="Measure these: names, {name: …, label: …, <option>: …}, all; "
            "no:NAME leaves one out.",
        ),
        plugin_options,
        click.option("--no-snapshots", is_flag=True, help="Store no activations."),
        click.option("--resume", "resumed", metavar="RUN", help="Go on with an interrupted run."),
        click.option(
            "--allow-changes",
            is_flag=True,
            help="Resume although plugins, versions or the data have changed.",
        ),
        plugins_from_run_option,
        click.option(
            "--presets",
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_list_presets,
            help="List the presets and exit.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def picture_options(command: Command) -> Command:
    """Add `--format`, `--dpi`, `--show` and `--labels`."""
    options = (
        click.option(
            "--labels",
            metavar="A,B",
            help="A label for each run; runs of one label are taken as replicates.",
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(["png", "svg", "pdf"]),
            default="png",
            show_default=True,
            help="Type of the files.",
        ),
        click.option(
            "--dpi",
            type=click.IntRange(30, 1200),
            default=150,
            show_default=True,
            help="Dots per inch of a PNG.",
        ),
        click.option("--show", is_flag=True, help="Open the pictures in windows as well."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def split_labels(text: str | None) -> tuple[str, ...]:
    """Return the labels that `--labels` lists."""
    return () if text is None else tuple(label.strip() for label in text.split(","))


def _list_presets(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo("\n".join(presets()))
        ctx.exit()
