"""Matrices as coloured cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmp_plots._scales import MINUS, set_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.image import AxesImage

Floats = NDArray[np.float64]


def draw_cells(axes: Axes, shades: Floats, texts: NDArray[Any] | None, **options: Any) -> AxesImage:
    """Draw a matrix as colours, with texts in black or white, whichever can be read."""
    image = axes.imshow(shades, aspect="auto", **options)
    axes.grid(visible=False)
    if texts is not None:
        brightness = np.asarray(image.to_rgba(shades))[..., :3] @ (0.299, 0.587, 0.114)
        for (row, column), text in np.ndenumerate(texts):
            colour = "white" if brightness[row, column] < 0.55 else "black"
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
            if text:
                axes.text(column, row, text, **style)
    return image


def in_digits(values: Floats) -> NDArray[np.str_]:
    """Return numbers with as many decimals as give the largest of them three digits.

    So 0.95 stands as 0.950 beside 0.955. Where the sizes differ so much that many would be rounded
    to a digit or none, each has three digits of its own.

    >>> in_digits(np.array([0.95, 0.9554, -0.0001, np.nan])).tolist()
    ['0.950', '0.955', '0.000', '']
    >>> in_digits(np.array([0.0123, 0.0456, -45.67, 1234.5])).tolist()
    ['0.0123', '0.0456', '−45.7', '1234']
    """
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(sizes):
        return in_decimals(values, 0)
    largest = float(sizes.max())
    if 1e-3 <= largest < 1e5 and largest <= 300 * np.quantile(sizes, 0.25):
        return in_decimals(values, _decimals(largest))
    return _each(_digits, values)


def in_decimals(values: Floats, decimals: int) -> NDArray[np.str_]:
    """Return numbers with so many decimals, nothing where there is no number.

    >>> in_decimals(np.array([0.5, -0.001, -1.0]), 2).tolist()
    ['0.50', '0.00', '−1.00']
    """
    return _each(lambda value: f"{round(value, decimals) + 0.0:.{decimals}f}", values)


def _each(shown: Callable[[float], str], values: Floats) -> NDArray[np.str_]:
    texts = [shown(float(x)) if math.isfinite(x) else "" for x in values.flat]
    return np.array([text.replace("-", MINUS) for text in texts], dtype=str).reshape(values.shape)


def _decimals(size: float) -> int:
    """Return how many decimals give a number three digits; 1 has as many as what is below it."""
    return max(0, 3 - math.ceil(math.log10(size)))


def _digits(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}"
    return f"{value:.{_decimals(abs(value))}f}" if value else "0"


def colour_bar(image: AxesImage, axes: Axes | Sequence[Axes], label: str) -> Colorbar:
    """Put the scale of colours beside the axes; the label says it where it is not linear."""
    # Of several axes the bar takes a share of all their width together.
    size: dict[str, Any] = {"fraction": 0.02} if isinstance(axes, Sequence) else {"pad": 0.02}
    bar = image.axes.figure.colorbar(image, ax=axes, label=label, **size)
    set_ticks(bar.ax.yaxis)
    return bar
