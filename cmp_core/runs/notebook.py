"""Tables as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(
    heading: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    notes: Sequence[str] = (),
) -> str:
    """Return a heading, a table whose first column names the rows, and notes; all are plain text.

    >>> html_table("<a>", ["layer", "n"], [["fc", "3"]])  # doctest: +ELLIPSIS
    '<p><b>&lt;a&gt;</b></p><table><thead><tr><th>layer</th><th>n</th></tr></thead>...</table>'
    """
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if body else ""
    told = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"<p><b>{escape(heading)}</b></p>{table}{told}"
