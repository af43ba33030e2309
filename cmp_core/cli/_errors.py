"""How a command ends that cannot do what it is asked for: by a sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from click.exceptions import NoArgsIsHelpError

from cmp_core.cli._unknown import unknown_option
from cmp_core.errors import CmpError, PluginError, reason_of, text_of, traceback_of
from cmp_core.plugins.interruption import INTERRUPTED
from cmp_core.text import printable

READER_GONE = 141
"""The exit code of a program whose reader has closed the pipe: 128 + SIGPIPE, as shells count."""

_LONGEST = 20_000
"""Characters of an error, which may be all mistakes of a configuration."""


@contextmanager
def ending() -> Iterator[None]:
    """End the program by what is raised within a `with` block, click's own errors among it.

    A wrong call is told in one line, `error: …`, and below it where to read what is right.

    Raises:
        SystemExit: with the exit code.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # a reader that has gone is found out here, not when Python ends
    except NoArgsIsHelpError:
        raise  # it is the help
    except click.ClickException as error:
        _complain(_sentence(error))
        if isinstance(error, click.UsageError) and error.ctx is not None:
            click.echo(f"see {error.ctx.command_path} --help", err=True)
        sys.exit(error.exit_code)
    except CmpError as error:
        _complain(text_of(error, _LONGEST))
        if isinstance(error, PluginError) and error.__cause__ is not None:
            click.echo(traceback_of(error.__cause__), err=True, nl=False)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        _drop_what_waits()
        sys.exit(READER_GONE)
    except OSError as error:
        _complain(reason_of(error))
        sys.exit(CmpError.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _sentence(error: click.ClickException) -> str:
    """Return what click has to say in the style of our own errors."""
    if isinstance(error, click.NoSuchOption):
        return unknown_option(error)
    text = error.format_message().removesuffix(".")
    return text[:1].lower() + text[1:]


def _complain(text: str) -> None:
    click.echo(printable(f"error: {text}"), err=True)


def _drop_what_waits() -> None:
    """Let what is still to be printed go nowhere; Python would fail in printing it at its end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
