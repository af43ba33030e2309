"""Which seeds are asked for, and whether a path holds runs of several."""

from __future__ import annotations

from pathlib import Path

import click

from cmp_core.runs.directory import PARAMS, run_directories

MOST = 1000
"""Seeds at once; more are a slip."""


class Seeds(click.ParamType[tuple[int, ...]]):
    """Seeds as numbers and ranges, such as `0-4,7`."""

    name = "seeds"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the seeds in the order in which they are given."""
        ranges = []
        for part in str(value).split(","):
            first, dash, last = (text.strip() for text in part.partition("-"))
            if not _is_seed(first) or (dash and not _is_seed(last)):
                self.fail(f"expected seeds such as 0-4 or 0,3,7, got '{value}'", param, ctx)
            ranges.append(range(int(first), int(last or first) + 1))
        if not all(map(len, ranges)) or sum(map(len, ranges)) > MOST:
            self.fail(f"expected 1 to {MOST:,} seeds, such as 0-4, got '{value}'", param, ctx)
        seeds = [seed for part in ranges for seed in part]
        if len(set(seeds)) < len(seeds):
            self.fail(f"expected each seed once, got '{value}'", param, ctx)
        return tuple(seeds)


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def is_folder_of_replicates(path: str | None) -> bool:
    """Return whether a path is no run and holds some."""
    if path is None or (Path(path) / PARAMS).exists():
        return False
    return bool(run_directories(Path(path)))
