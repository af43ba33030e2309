"""`cmp info`: what a run or a snapshot holds."""

from __future__ import annotations

import click


@click.command(
    "info",
    epilog="""\b
Examples:
  cmp info runs/digits/greedy/0001_2026-11-23_10-15-00
  cmp info my_activations.h5""",
)
@click.argument("path")
def info_command(path: str) -> None:
    """Print what a run directory, a folder of snapshots or a snapshot file holds.

    Every snapshot is read whole and compared with the hash that it holds; the exit code is 2 where
    one is damaged. Of a folder the first 100 are read, in the order of training.
    """
    from cmp_core.cli import _info

    _info.show(path)
