"""A page as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "source", "br"}


class Page(HTMLParser):
    """A page: its tags with their attributes, its text, and its tables as rows of cells.

    Every tag that is opened is closed, in the right order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pre = ""
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join("".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self._texts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._texts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            return
        self._texts.append(data)
        if "pre" in self._open:
            self.pre += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] = " ".join((self.rows[-1][-1] + data).split())

    @property
    def names(self) -> list[str]:
        """The tags by name."""
        return [tag for tag, _ in self.tags]

    def attributes(self, tag: str, name: str) -> list[str]:
        """The values of an attribute of all tags of a name."""
        return [str(attributes[name]) for found, attributes in self.tags if found == tag]

    def rows_of(self, head: str) -> list[list[str]]:
        """The rows that begin with a cell, without it."""
        return [row[1:] for row in self.rows if row and row[0] == head]

    def between(self, start: str, end: str) -> str:
        """The text from one to another."""
        return self.text.partition(start)[2].partition(end)[0]
