"""Timing two things alternately, so that a noisy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

Work = Callable[[], object]


def compare(first: Work, second: Work, rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of both and the median of their ratios, first to second."""
    pairs = []
    for work in (first, second):
        work()  # warm up
    for i in range(rounds):
        order = (first, second) if i % 2 == 0 else (second, first)
        seconds = {work: _seconds(work) for work in order}
        pairs.append((seconds[first], seconds[second]))
    firsts, seconds_ = zip(*pairs, strict=True)
    ratios = [a / b for a, b in pairs]
    return statistics.median(firsts), statistics.median(seconds_), statistics.median(ratios)


def report(what: str, result: tuple[float, float, float], goal: str) -> None:
    """Print one line of figures."""
    first, second, ratio = result
    print(f"{what}: {1e3 * first:.2f} ms to {1e3 * second:.2f} ms, ratio {ratio:.3f} ({goal})")


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
