"""Fonts for the characters that matplotlib's own one lacks, such as Chinese ones and emoji."""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import TYPE_CHECKING

from cmp_core.console import warn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lacking_characters(figure: Figure) -> frozenset[str]:
    """Return the characters of all texts of a figure that the chosen fonts have no glyph for."""
    import matplotlib as mpl
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.text import Text

    texts = (artist.get_text() for artist in figure.findobj(Text))
    characters = {one for text in texts for one in text if one.isprintable() and one != " "}
    for family in mpl.rcParams["font.family"]:
        characters -= characters_of(findfont(FontProperties(family=[family])))
    return frozenset(characters)


def families_for(characters: Set[str]) -> tuple[str, ...]:
    """Return installed font families that together have as many of some characters as possible.

    Fonts of outlines alone count: matplotlib cannot scale the pictures of an emoji font.
    """
    from matplotlib.font_manager import fontManager

    found, left = [], set(characters)
    fonts = {entry.fname: entry.name for entry in fontManager.ttflist if _is_upright(entry)}
    shared = {path: left & characters_of(path) for path in sorted(fonts)}
    while best := max(shared, key=lambda path: len(shared[path] & left), default=None):
        if not shared[best] & left:
            break
        found.append(fonts[best])
        left -= shared.pop(best)
    return tuple(found)


@lru_cache
def warn_of_lacking(characters: frozenset[str]) -> None:
    """Say which characters are drawn as boxes, once for all pictures that have the same ones."""
    first = sorted(characters)[:10]
    others = f" and {len(characters) - 10} more" if len(characters) > 10 else ""
    warn(
        f"no installed font has {', '.join(first)}{others}: drawn as boxes; install one that does, "
        "such as Noto Sans of that script"
    )


@lru_cache(None)
def characters_of(path: str) -> frozenset[str]:
    """Return the characters that a font file has glyphs for; none where it cannot be drawn with."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # the list of fonts may be older than the fonts
        return frozenset()
    return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()


def _is_upright(entry: object) -> bool:
    """Return whether a font is a usual one; that of last resort has a box for everything."""
    name, style = str(getattr(entry, "name", "")), getattr(entry, "style", "")
    return style == "normal" and not name.replace(" ", "").lower().startswith((".", "lastresort"))
