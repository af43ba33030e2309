"""Matrices as coloured cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmp_plots._scales import set_ticks

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
    """Return numbers in at most three digits, with an exponent only where they need it.

    >>> in_digits(np.array([0.98765, 1234.5, -0.0001, -0.0, np.nan])).tolist()
    ['0.988', '1234', '-1e-04', '0', '']
    """
    return np.array([_digits(value) for value in values.flat], dtype=str).reshape(values.shape)


def _digits(value: float) -> str:
    if not math.isfinite(value):
        return ""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.0e}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value + 0.0:.3g}"


def colour_bar(image: AxesImage, axes: Axes | Sequence[Axes], label: str) -> Colorbar:
    """Put the scale of colours beside the axes."""
    # Of several axes the bar takes a share of all their width together.
    size: dict[str, Any] = {"fraction": 0.02} if isinstance(axes, Sequence) else {"pad": 0.02}
    bar = image.axes.figure.colorbar(image, ax=axes, label=label, **size)
    set_ticks(bar.ax.yaxis)
    return bar
