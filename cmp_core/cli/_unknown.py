"""What is said of a command or an option that there is not: the nearest ones there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import pairwise

import click

from cmp_core.errors import unknown

_ARGUMENTS = "cmp.arguments"
"""Where a context keeps what follows the name of the program."""

_CLOSE, _VERY_CLOSE = 0.6, 0.85
"""Ratios of `difflib`: of a name that may be meant, and of a second one that may be as well."""


class Setting(click.ParamType[str]):
    """A `key=value` of the configuration.

    Args:
        keys: those that may be set.
    """

    name = "setting"

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)


class NamingGroup(click.Group):
    """A group of commands that names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for, and keep its arguments for `unknown_option`."""
        ctx.meta[_ARGUMENTS] = tuple(args)
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(unknown("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


def unknown_option(error: click.NoSuchOption) -> str:
    """Return a sentence for an unknown option, with the nearest one or key of the configuration."""
    told = f"unknown option '{error.option_name}'"
    if error.ctx is None:
        return told
    given = error.ctx.meta.get(_ARGUMENTS, ())
    words = dict(_words(error.ctx, _value(error.option_name, given)))
    said = _word(error.option_name)
    close = get_close_matches(said, words, n=2, cutoff=_VERY_CLOSE)
    close = close or get_close_matches(said, words, n=1, cutoff=_CLOSE)
    return f"{told}; did you mean {' or '.join(words[word] for word in close)}?" if close else told


def _words(ctx: click.Context, value: str) -> Iterator[tuple[str, str]]:
    """Yield what may be meant, and how it is written; an option after the key of its name."""
    params = ctx.command.get_params(ctx)
    for param in params:
        if isinstance(param.type, Setting):
            for key in param.type.keys:
                yield _word(key), f"--set {shlex.quote(f'{key}={value}')}"
    for param in params:
        if isinstance(param, click.Option):
            for option in (*param.opts, *param.secondary_opts):
                if option.startswith("--"):
                    yield _word(option), option


def _word(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()


def _value(option: str, given: Sequence[str]) -> str:
    """Return what was given as the value of an option, `VALUE` where there is none."""
    for argument, following in pairwise((*given, "")):
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
        if argument == option and re.match(r"[^-]|-[.\d]", following):
            return following
    return "VALUE"
