"""Functions called in child processes: one that crashes, hangs or fills the memory costs itself.

A server imports what is needed once and forks a child for each call, before it has used threads or
a GPU; the process that asks imports nothing of it. Where there is no safe fork, children import for
themselves.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NoReturn, Self

import attrs

from cmp_core.errors import CmpError, UsageError, one_line

Call = tuple[str, tuple[Any, ...]]
"""A function, as `package.module:function`, and its arguments."""

MEMORY = 8 * 2**30
"""Bytes that a child may take while it reads what it has not checked yet, beside its libraries."""

_LIBRARIES = 2**30
_SECONDS = 30
_BYTES_PER_SECOND = 5 * 10**6


@attrs.frozen
class Outcome:
    """What a call gave.

    Attributes:
        value: what the function returned.
        problem: why there is none, in a sentence; or none.
        said: what it wrote to standard error.
    """

    value: Any = None
    problem: str | None = None
    said: str = ""


class Children:
    """A server of child processes: a `with` block, at whose end none of them is left.

    Args:
        count: children at once.
        preload: a function that is called once before all children, as `package.module:function`,
            or none.
    """

    def __init__(self, count: int, preload: str | None = None) -> None:
        start = (
            f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; "
            f"serve({count}, {preload!r})"
        )
        self._server = subprocess.Popen(
            [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._said: set[str] = set()

    def results(self, calls: Sequence[Call]) -> Iterator[Outcome]:
        """Yield what the calls give, in their order; what several of them say is said once.

        Raises:
            CmpError: the server is gone.
        """
        assert self._server.stdin is not None  # they are pipes
        assert self._server.stdout is not None
        early: dict[int, Outcome] = {}
        try:
            pickle.dump(list(calls), self._server.stdin)
            self._server.stdin.flush()
            for place in range(len(calls)):
                while place not in early:
                    index, outcome = pickle.load(self._server.stdout)
                    early[index] = outcome
                self._say(early[place].said)
                yield early.pop(place)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            raise CmpError(f"the process that starts others is gone: {one_line(error)}") from error

    def result(self, call: Call) -> Any:
        """Return what one call gives.

        Raises:
            UsageError: it gave none; the message says why.
        """
        (outcome,) = self.results([call])
        if outcome.problem is not None:
            raise UsageError(outcome.problem)
        return outcome.value

    def close(self) -> None:
        """End the server and its children."""
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._server.terminate()
        self._server.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, text: str) -> None:
        for line in text.splitlines():
            if line not in self._said:
                self._said.add(line)
                print(line, file=sys.stderr)


# In the server


def serve(count: int, preload: str | None) -> NoReturn:
    """Answer lists of calls on standard input by outcomes on standard output, until it ends."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what children print is no result
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    signal.signal(signal.SIGTERM, _end)
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    if preload is not None:
        gc.disable()  # Python's collector would go through all that is imported, now and then
        pkgutil.resolve_name(preload)()
        gc.freeze()
        gc.enable()
    while True:
        try:
            calls = pickle.load(sys.stdin.buffer)
        except EOFError:
            _end()
        for index, outcome in _outcomes(calls, count):
            pickle.dump((index, outcome), results)
            results.flush()


def _end(*_: object) -> NoReturn:
    """End the children and the server at once: to take down torch takes a while."""
    for child in active_children():
        child.terminate()
    os._exit(0)


def _outcomes(calls: Iterable[Call], count: int) -> Iterator[tuple[int, Outcome]]:
    """Yield the number of a call and its outcome, as soon as it is there."""
    context: Any = get_context("fork" if sys.platform == "linux" else "spawn")
    waiting = iter(enumerate(calls))
    running: dict[Any, tuple[int, BaseProcess]] = {}
    asks: list[Any] = [] if sys.platform == "win32" else [sys.stdin.buffer]  # ends with who asks
    while True:
        while len(running) < count and (following := next(waiting, None)) is not None:
            index, (name, arguments) = following
            function = pkgutil.resolve_name(name)  # imported once
            receiver, sender = context.Pipe(duplex=False)
            child = context.Process(target=_call, args=(sender, function, arguments), daemon=True)
            child.start()
            sender.close()
            running[receiver] = (index, child)
        if not running:
            return
        for ready in wait([*running, *asks]):
            if ready not in running:
                _end()
            index, child = running.pop(ready)
            yield index, _outcome(ready, child)


def _outcome(receiver: Any, child: BaseProcess) -> Outcome:
    try:
        outcome: Outcome = receiver.recv()
    except (EOFError, OSError):
        child.join()
        return Outcome(problem=_how_it_ended(child.exitcode or 0))
    finally:
        receiver.close()
    child.join()
    return outcome


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"the process that read it has ended itself with exit code {code}"
    if sys.platform != "win32" and -code == signal.SIGVTALRM:
        return "HDF5 comes to no end in reading it, as it does where a file is damaged"
    name = signal.Signals(-code).name
    why = "the memory was short" if name == "SIGKILL" else "it is damaged, or made to do so"
    return f"reading it has ended the process by {name}: {why}"


# In a child


def _call(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        outcome = _called(function, arguments)
    sender.send(attrs.evolve(outcome, said=said.getvalue()))
    sys.stdout.flush()
    os._exit(0)  # Python would wait for threads that a plugin has left on


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    try:
        return Outcome(function(*arguments))
    except CmpError as error:
        return Outcome(problem=str(error))
    except Exception as error:  # of a library, which does not know the file; it costs the file
        return Outcome(problem=one_line(error))


@contextlib.contextmanager
def limited(size: int = 0) -> Iterator[None]:
    """Limit memory and computing time of this process, for a `with` block that reads a file.

    Args:
        size: bytes that are read; without them what takes the same for each file is done.
    """
    if sys.platform == "win32":  # has neither
        yield
        return
    import resource

    kept = resource.getrlimit(resource.RLIMIT_DATA)
    most = MEMORY + _LIBRARIES
    hard = kept[1]
    resource.setrlimit(resource.RLIMIT_DATA, (min(most, hard) if hard >= 0 else most, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS + size / _BYTES_PER_SECOND)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_DATA, kept)
