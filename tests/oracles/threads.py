"""A fixture for modules of many small matrices; to import it is to use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Keep linear algebra to one thread.

    On a busy machine the threads of torch, NumPy and SciPy wait for each other, which makes such a
    module take minutes instead of seconds.
    """
    with threadpool_limits(1):
        yield
