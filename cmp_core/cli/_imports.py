"""What a run imports before it begins, and Python's garbage collection meanwhile.

Torch and scikit-learn make a million objects that stay. While they are imported, at the end of the
program, and now and then in between the collector goes through all of them: two of four seconds.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_is_own_process = False


def own_process() -> None:
    """Say that this process is that of a command: what it imports, nobody will want to be freed."""
    global _is_own_process
    _is_own_process = True


@contextmanager
def importing() -> Iterator[None]:
    """Import within a `with` block what is never collected; before plugins make objects."""
    if not (_is_own_process and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def import_for_training(*, tests: bool) -> None:
    """Import what would be imported while a run is prepared, and tested if it is."""
    import torch

    torch.optim.SGD([torch.empty(0)])  # the first optimizer imports torch's compiler
    if tests:
        import sklearn.metrics  # noqa: F401
