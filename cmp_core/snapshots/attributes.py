"""Reading an attribute as a text or a whole number, in whichever form a program writes those."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

_LARGEST = 2**53
"""From here on floats skip whole numbers."""
_MOST_SHOWN = 200


def as_text(value: Any) -> str | None:
    """Return a text of fixed or variable length, alone or in an array of one; none for others.

    >>> as_text(np.array([b"val"])), as_text("val"), as_text(3)
    ('val', 'val', None)
    """
    value = _single(value)
    try:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str):
            value.encode()  # h5py reads bytes that are no UTF-8 as half characters
            return str(value)
    except UnicodeError:
        return None
    return None


def as_whole_number(value: Any) -> int | None:
    """Return a whole number of any type, alone or in an array of one; none for others.

    MATLAB and R know no whole numbers but floats, and no scalars but arrays.

    >>> as_whole_number(3.0), as_whole_number(np.array([[3]])), as_whole_number(0.5)
    (3, 3, None)
    """
    value = _single(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return int(number) if abs(number) < _LARGEST and number.is_integer() else None
    is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return int(value) if is_number else None


def value_of(item: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return the single value of an attribute, or none; of others what they are, in a tuple."""
    if name not in item.attrs:
        return None
    stored = item.attrs.get_id(name)
    count = stored.get_space().get_simple_extent_npoints()
    if count != 1:
        return (f"{count:,} values",)
    return item.attrs[name] if is_bounded(stored) else (f"a value of type {stored.dtype}",)


def is_bounded(stored: h5py.h5a.AttrID | h5py.h5d.DatasetID) -> bool:
    """Return whether all values are of one length, or there is a single text.

    Elements of any length are stored once and may be told to be there a million times, and HDF5
    crashes where lists of them are damaged.
    """
    if not stored.dtype.hasobject:
        return True
    is_text = stored.get_type().get_class() == h5py.h5t.STRING
    return bool(is_text and stored.get_space().get_simple_extent_npoints() <= 1)


def shortened(text: str | bytes) -> str:
    """Return a text that comes from a file as a message shows it: at most 200 characters of it.

    >>> len(shortened("a" * 300))
    201
    """
    text = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _single(value: Any) -> Any:
    is_one = isinstance(value, np.ndarray) and value.size == 1
    return value.reshape(-1)[0] if is_one else value
