"""What `cmp plugins` prints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from cmp_core.cli._streams import results_alone
from cmp_core.console import out, say, say_indented, show_table
from cmp_core.errors import UsageError
from cmp_core.plugins.discovery import EXAMPLE, Listing, list_plugins
from cmp_core.plugins.loader import load_plugins
from cmp_core.plugins.registry import Entry, definition_of


def print_plugins(*, verbose: bool, as_json: bool) -> None:
    """Print all plugins, and why one is broken; `verbose` adds what each registers."""
    if as_json:
        with results_alone() as results:
            listings, details = _listed(verbose=verbose)
            rows = [_as_json(listing, details if verbose else None) for listing in listings]
            results.write(json.dumps(rows, indent=2) + "\n")
        return
    listings, details = _listed(verbose=verbose)
    table = [
        (
            listing.name,
            ", ".join(listing.kinds) or "?",
            listing.version,
            listing.state,
            listing.origin,
        )
        for listing in listings
    ]
    show_table(("name", "kind", "version", "state", "origin"), table)
    for listing in listings:
        lines = [*details.get(listing.name, ()), *filter(None, [listing.problem])]
        if lines:
            say(listing.name)
        for line in lines:
            say_indented(line, 2)
    if not verbose:
        say("cmp plugins -v imports them and tells what each does")


def _listed(*, verbose: bool) -> tuple[Sequence[Listing], Mapping[str, Sequence[str]]]:
    """Return all plugins and, by name, lines about what each registers if they are imported."""
    if not verbose:
        return list_plugins(), {}
    with out().status("importing"):
        return _imported(list_plugins())


def _imported(listings: Sequence[Listing]) -> tuple[list[Listing], dict[str, list[str]]]:
    """Return the plugins as they are once imported, and lines about what each registers."""
    loaded = load_plugins()
    broken = {plugin.name: plugin.problem for plugin in loaded.broken}
    told: list[Listing] = []
    details: dict[str, list[str]] = {}
    for listing in listings:
        name, registry = listing.name, loaded.registry
        if listing.state == "example":
            name = listing.name.removeprefix(EXAMPLE)
            try:
                registry = load_plugins([listing.name], built_ins=()).registry
            except UsageError as error:
                broken[listing.name] = str(error)
        if listing.name in broken:
            problem = listing.problem or broken[listing.name].splitlines()[0]
            told.append(attrs.evolve(listing, state="broken", problem=problem))
            continue
        told.append(listing)
        details[listing.name] = [
            f"{what}{_split(kind, entry)}: {entry.summary}"
            for kind, what, entry in registry.of(name)
        ]
    return told, details


def _split(kind: str, entry: Entry) -> str:
    """Return how a metric reads a split, in brackets; nothing for other kinds."""
    return f" (split: {definition_of(entry.factory, kind).split})" if kind == "metric" else ""


def _as_json(listing: Listing, details: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    """Return a row; without a problem where there is none."""
    row = attrs.asdict(listing, filter=lambda field, value: field.name != "problem" or value)
    return row if details is None else row | {"registers": details.get(listing.name, [])}
