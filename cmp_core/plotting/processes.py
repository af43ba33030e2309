"""Pictures drawn on all cores, by processes that have been sent all of them once."""

from __future__ import annotations

import gc
import io
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, suppress
from functools import partial
from multiprocessing import get_context

from joblib import cpu_count

from cmp_core.data.plugin_modules import PluginModules
from cmp_core.plotting.render import Attempt, Task, attempt
from cmp_core.plugins.fence import Fence

Draw = Callable[[], Attempt]

_FEW = 16
"""Pictures that are drawn sooner than other processes have started and imported matplotlib."""


@contextmanager
def by_processes(
    todo: Sequence[Task], here: Sequence[Draw], form: str, dpi: int, policy: str
) -> Iterator[Sequence[Draw]]:
    """Begin to draw pictures in other processes, and give what waits for each.

    Args:
        todo: what `tasks` returned.
        here: what draws each in this process: given back where other processes would save nothing,
            and used where one of them has died.
        form: one of `FORMATS`.
        dpi: dots per inch of a PNG.
        policy: of plots that raise, `disable` or `warn`.
    """
    packed = _packed(todo) if cpu_count() > 1 and len(todo) > _FEW else None
    if packed is None:
        yield here
        return
    pool = ProcessPoolExecutor(
        min(cpu_count(), len(todo) // (_FEW // 2)),
        get_context("spawn"),  # a fork of a process with threads may hang
        initializer=_begin,
        initargs=(packed, form, dpi, policy),
    )
    told: set[str] = set()
    try:
        futures = [
            None if task.view is None else _begun(pool, place) for place, task in enumerate(todo)
        ]
        yield [
            draw if future is None else partial(_result, future, draw, told)
            for future, draw in zip(futures, here, strict=True)
        ]
    finally:
        pool.shutdown(cancel_futures=True)


def _packed(todo: Sequence[Task]) -> bytes | None:
    """Return pictures as they are sent; none where a plot is a function without a name."""
    try:
        return pickle.dumps((PluginModules(), todo))
    except (AttributeError, TypeError, pickle.PicklingError):
        return None


def _begun(pool: ProcessPoolExecutor, place: int) -> Future[tuple[Attempt, str]] | None:
    with suppress(BrokenProcessPool):  # a process has died already
        return pool.submit(_draw, place)
    return None


def _result(future: Future[tuple[Attempt, str]], draw: Draw, told: set[str]) -> Attempt:
    """Wait for a picture; print what its process had to say, unless another has said it."""
    try:
        made, said = future.result()
    except BrokenProcessPool:
        return draw()
    if said not in told:
        told.add(said)
        sys.stderr.write(said)
    return made


# In the other processes

_attempts: list[Draw]


def _begin(packed: bytes, form: str, dpi: int, policy: str) -> None:
    global _attempts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits
    _, todo = pickle.loads(packed)
    from matplotlib import pyplot  # noqa: F401 (before it is frozen)

    gc.freeze()  # collections, and the process's end, need not go through what was imported
    fence = Fence()
    _attempts = [partial(attempt, task, form, dpi, fence=fence, policy=policy) for task in todo]


def _draw(place: int) -> tuple[Attempt, str]:
    """Draw a picture; return what came of it, and what was written to standard error."""
    with redirect_stderr(io.StringIO()) as said:
        return _attempts[place](), said.getvalue()
