"""Scales that suit a metric's values: along an axis, and for the colours of cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Normalize

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)
MINUS = "\N{MINUS SIGN}"
"""The minus of all pictures: a hyphen is shorter, and matplotlib's own ticks have this one."""

_Kind = Literal["linear", "log", "symlog", "logit"]


def set_scale(axes: Axes, values: ArrayLike, bounds: Bounds = UNBOUNDED) -> str:
    """Give the vertical axis a scale that suits its values and their possible range.

    - values above 0 and below 1, which is their upper bound, of which some are ten times nearer to
      it than others: logit, on which .9, .99 and .999 are equally far apart;
    - positive values over more than a decade and a half: logarithmic;
    - signed values of which the largest is more than a hundred times the usual size: symmetric
      logarithmic, linear near 0; 0 is marked wherever it is crossed.

    A value of exactly 0 or 1, such as the accuracy of a small batch, has no place on a logit scale,
    nor 0 on a logarithmic one: then the scale is linear, and no value is moved to where it is not.
    So is it where values are nearer to 1 than a ten-thousandth, which would take most of the axis.
    Ends of intervals and bands count as well: what the axis shows already.

    Returns:
        the name of the scale for the label of the axis, see `scale_name`.
    """
    drawn = [one.dataLim.intervaly for one in axes.get_shared_y_axes().get_siblings(axes)]
    numbers, ends = _finite(values), _finite(np.array(drawn))
    if not len(numbers):
        return ""
    kind = _kind(numbers, bounds, np.concatenate([numbers, ends]))
    if kind == "symlog":
        axes.set_yscale("symlog", linthresh=_linear_below(numbers))
    elif kind != "linear":
        axes.set_yscale(kind)
    if kind != "linear":
        axes.autoscale_view(scalex=False)  # the margins so far are those of a linear scale
    set_ticks(axes.yaxis)
    if numbers.min() < 0 < numbers.max():
        axes.axhline(0, color="0.5", linewidth=0.8, zorder=1)
    return scale_name(kind)


def share_scale(axes: Sequence[Axes], values: ArrayLike, bounds: Bounds = UNBOUNDED) -> str:
    """Give several axes one vertical scale with the same ends, as `set_scale` does one of them."""
    first, *others = axes
    for one in others:
        one.sharey(first)
    first.autoscale_view(scalex=False)
    names = [set_scale(one, values, bounds) for one in axes]
    return names[0]


def scale_name(kind: str) -> str:
    """Return what an axis says of its scale: nothing where it is linear.

    >>> scale_name("logit"), scale_name("linear")
    ('logit scale', '')
    """
    return "" if kind == "linear" else f"{kind} scale"


def set_ticks(axis: Axis) -> None:
    """Put ticks at round numbers where an axis is not linear, and none between them."""
    from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    kind = axis.get_scale()
    if kind == "linear":
        return
    # A colour bar calls a scale that a function makes by no other name.
    if kind in ("logit", "function"):
        axis.set_major_locator(FixedLocator(_logit_ticks(low, high)))
    elif kind == "log":
        subs = (1, 2, 5) if high < 300 * low else (1, 3) if high < 1e4 * low else (1,)
        axis.set_major_locator(LogLocator(subs=subs, numticks=7))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(_tick_names(low, high))


def _tick_names(low: float, high: float) -> Callable[[float, float], str]:
    """Return what names ticks: by powers of ten where numbers would be long, the same for all."""
    largest, least = max(abs(low), abs(high)), min(x for x in (abs(low), abs(high), 1.0) if x)
    in_powers = largest >= 1e5 or (low > 0 and least < 1e-4)

    def name(tick: float, _: float) -> str:
        if not in_powers or not tick:
            return f"{tick:g}".replace("-", MINUS)
        power = math.floor(math.log10(abs(tick)) + 1e-9)
        times = round(abs(tick) / 10.0**power)
        sign = "-" if tick < 0 else ""
        factor = "" if times == 1 else rf"{times} \times "
        return f"${sign}{factor}10^{{{power}}}$"

    return name


def colour_scale(values: ArrayLike, bounds: Bounds = UNBOUNDED) -> tuple[Normalize, str, str]:
    """Return what maps values to colours, as `set_scale` maps them to heights.

    Returns:
        the map, the name of the colours, diverging about 0 where there are both signs, and the name
        of the scale for the label of the colour bar. Values that differ by rounding alone get one
        colour.
    """
    from matplotlib.colors import FuncNorm, LogNorm, Normalize, SymLogNorm

    numbers = _finite(values)
    low, high = float(numbers.min()), float(numbers.max())
    kind = _kind(numbers, bounds, numbers)
    if low < 0 < high:
        reach = max(-low, high)
        if kind == "symlog":
            norm: Normalize = SymLogNorm(_linear_below(numbers), vmin=-reach, vmax=reach)
            return norm, "RdBu_r", scale_name(kind)
        return Normalize(-reach, reach), "RdBu_r", ""
    if high - low <= 1e-9 * max(-low, high):
        return Normalize(low - 0.1 * abs(low), high + 0.1 * abs(high)), "cividis", ""
    if kind == "logit":
        return FuncNorm((_logit, _expit), low, high), "cividis", scale_name(kind)
    return (LogNorm if kind == "log" else Normalize)(low, high), "cividis", scale_name(kind)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return numbers[np.isfinite(numbers)]


def _kind(numbers: NDArray[np.float64], bounds: Bounds, shown: NDArray[np.float64]) -> _Kind:
    """Return the scale that suits numbers and has a place for all that is shown."""
    low, high = float(numbers.min()), float(numbers.max())
    if bounds[1] == 1 and low >= 0 and 0.9 <= high < 1.001:
        has_place = shown.min() >= _LEAST and shown.max() <= 1 - _LEAST
        is_better = high - low > 0.02 and 1 - low > 10 * (1 - high)
        return "logit" if has_place and is_better else "linear"
    if low > 0 and high / low > 30:
        return "log" if shown.min() > 0 else "linear"
    if low < 0 < high:
        sizes = np.abs(numbers[numbers != 0])
        return "symlog" if sizes.max() > 100 * np.median(sizes) else "linear"
    return "linear"


def _linear_below(numbers: NDArray[np.float64]) -> float:
    """Return where a signed scale turns logarithmic, a power of ten, as its ticks are."""
    sizes = np.abs(numbers[numbers != 0])
    least = max(np.quantile(sizes, 0.25), sizes.max() / 1000)
    # A little more, or matplotlib's inexact logarithm puts a tick between it and 0.
    return float(1.001 * 10.0 ** math.ceil(math.log10(least)))


# matplotlib has no colours on a logit scale, and its locator no tick between 0.9 and 0.99.

_LEAST = 1e-4
"""Values that are nearer to 0 or 1 have no place on a logit scale."""

_HALF_OF_TICKS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def _logit(share: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm of the odds; ±∞ at the ends, where a colour bar has no tick."""
    inside = np.asarray(share, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(inside) - np.log1p(-inside))


def _expit(logit: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64))))


def _logit_ticks(low: float, high: float) -> Sequence[float]:
    """Return ticks between two shares, none too near another; the upper ones matter most."""
    lower = [round(1 - tick, 4) for tick in reversed(_HALF_OF_TICKS)]
    bottom, top = _logit([max(low, 1e-9), min(high, 1 - 1e-9)])
    kept: list[float] = []
    for tick in (*reversed(_HALF_OF_TICKS), 0.5, *reversed(lower)):
        above = _logit(kept[-1]) if kept else math.inf
        if low <= tick <= high and above - _logit(tick) > 0.1 * (top - bottom):
            kept.append(tick)
    return kept[::-1]
