"""A property that something must hold, and a test for each of many."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import attrs

from cmp_core.errors import one_line


@attrs.frozen
class Check:
    """One property; calling it raises `AssertionError` where it does not hold.

    Attributes:
        subject: label of what is checked.
        name: what must hold, in words.
        tried: the input on which it is tried, as Python with names of `cmp_core.testing`; empty
            where there is none.
    """

    subject: str
    name: str
    _run: Callable[[], None] = attrs.field(repr=False)
    tried: str = ""

    def __call__(self) -> None:
        """Run the check."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                self._run()
            except AssertionError as error:
                error.add_note(str(self))
                raise
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                message = f"{self}: {one_line(error)}"
                raise AssertionError(message) from error

    def __str__(self) -> str:
        return f"{self.subject}: {self.name}"
