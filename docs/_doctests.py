"""Doctests stand in docstrings as they are; the site shows them as code."""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

_DOCTEST = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.S | re.M)


class Doctests(Extension):
    """Puts fences around the doctests of each docstring."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was read."""
        if isinstance(obj.docstring, Docstring):
            value = obj.docstring.value
            obj.docstring.value = _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", value)
