"""The command line: a group of commands, one file each; nothing here imports torch at the top."""

from __future__ import annotations

from cmp_core.cli._group import cli

__all__ = ["cli"]
