"""Scales that suit a metric's values: along an axis, and for the colours of cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)


def set_scale(axes: Axes, values: ArrayLike, bounds: Bounds = UNBOUNDED) -> None:
    """Give the vertical axis a scale that suits its values and their possible range.

    - values from 0 to 1, at most 1, that come near 1: on it .9, .99 and .999 are equally far apart;
    - positive values over more than a decade and a half: logarithmic;
    - signed values whose sizes differ by more than a hundredfold: linear near 0, logarithmic
      beyond; 0 is marked wherever it is crossed.
    """
    numbers = _finite(values)
    if not len(numbers):
        return
    kind = _kind(numbers, bounds)
    if kind == "share":
        axes.set_yscale("function", functions=(_stretched, _unstretched))
    elif kind == "log":
        axes.set_yscale("log")
    elif kind == "signed":
        axes.set_yscale("symlog", linthresh=_linear_below(numbers))
    if kind != "linear":
        axes.autoscale_view(scalex=False)  # the margins so far are those of a linear scale
    set_ticks(axes.yaxis)
    if numbers.min() < 0 < numbers.max():
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1)


def set_ticks(axis: Axis) -> None:
    """Put ticks at round numbers where an axis is not linear, and none between them."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    if axis.get_scale() == "linear":
        return
    if axis.get_scale() == "function":
        axis.set_major_locator(FixedLocator(_share_ticks(low, high)))
    elif axis.get_scale() == "log":
        subs = (1, 2, 5) if high < 300 * low else (1, 3) if high < 1e4 * low else (1,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def colour_scale(values: ArrayLike, bounds: Bounds = UNBOUNDED) -> tuple[Normalize, str]:
    """Return what maps values to colours, as `set_scale` maps them to heights, and the colour map.

    It is diverging about 0 where there are both signs. Values that differ by rounding alone get one
    colour.
    """
    from matplotlib.colors import FuncNorm, LogNorm, Normalize, SymLogNorm

    numbers = _finite(values)
    low, high = float(numbers.min()), float(numbers.max())
    kind = _kind(numbers, bounds)
    if low < 0 < high:
        reach = max(-low, high)
        if kind == "signed":
            return SymLogNorm(_linear_below(numbers), vmin=-reach, vmax=reach), "RdBu_r"
        return Normalize(-reach, reach), "RdBu_r"
    if kind == "share":
        return FuncNorm((_stretched, _unstretched), low, high), "cividis"
    if high - low <= 1e-9 * max(-low, high):
        return Normalize(low - 0.1 * abs(low), high + 0.1 * abs(high)), "cividis"
    return (LogNorm if kind == "log" else Normalize)(low, high), "cividis"


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return numbers[np.isfinite(numbers)]


def _kind(
    numbers: NDArray[np.float64], bounds: Bounds
) -> Literal["linear", "log", "signed", "share"]:
    low, high = float(numbers.min()), float(numbers.max())
    if bounds[1] == 1 and low >= 0 and 0.9 <= high < 1.001 and high - low > 0.02:
        left = 1 - np.array([low, high]) + _AT_ENDS
        return "share" if left[0] > 4 * left[1] else "linear"
    if low > 0 and high / low > 30:
        return "log"
    if low < 0 < high:
        sizes = np.abs(numbers[numbers != 0])
        return "signed" if sizes.max() > 100 * np.quantile(sizes, 0.25) else "linear"
    return "linear"


def _linear_below(numbers: NDArray[np.float64]) -> float:
    """Return where a signed scale turns logarithmic, a power of ten, as its ticks are."""
    sizes = np.abs(numbers[numbers != 0])
    least = max(np.quantile(sizes, 0.25), sizes.max() / 1000)
    # A little more, or matplotlib's inexact logarithm puts a tick between it and 0.
    return float(1.001 * 10.0 ** math.ceil(math.log10(least)))


# matplotlib's logit scale has no place for 0 and 1, which accuracies of few samples often are, and
# its locator no tick between 0.9 and 0.99.

_AT_ENDS = 1e-3
"""Keeps 0 and 1 at a finite place; what is nearer to them than this is hardly told apart."""

_TICKS = (
    *(0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.85),
    *(0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1),
)


def _stretched(share: ArrayLike) -> NDArray[np.float64]:
    """Return the logit of shares that are first drawn a little towards one half."""
    inside = _AT_ENDS + (1 - 2 * _AT_ENDS) * np.asarray(share, dtype=np.float64)
    inside = np.clip(inside, _AT_ENDS / 10, 1 - _AT_ENDS / 10)
    return np.log(inside / (1 - inside))


def _unstretched(logit: ArrayLike) -> NDArray[np.float64]:
    inside = 1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64)))
    return (inside - _AT_ENDS) / (1 - 2 * _AT_ENDS)


def _share_ticks(low: float, high: float) -> list[float]:
    """Return ticks between two shares, none too near another; the upper ones matter most."""
    bottom, top = _stretched([low, high])
    kept: list[float] = []
    for tick in reversed(_TICKS):
        above = _stretched(kept[-1]) if kept else math.inf
        if low <= tick <= high and above - _stretched(tick) > 0.1 * (top - bottom):
            kept.append(tick)
    return kept[::-1]
