"""Reading one image file as RGB; what would be lost on the way is refused."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cmp_core.errors import DataError, one_line


def read_image(path: str, side: int) -> Tensor:
    """Return an image as uint8 (3, side, side).

    Raises:
        DataError: the file cannot be read or is too large, or holds what 8 bits of red, green and
            blue cannot: 16 or 32 bits of grey, transparency, several images.
    """
    try:
        with warnings.catch_warnings():
            # Of half the size that it refuses, and of metadata that are not looked at.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                _check(image, path)
                resized = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(
            f"'{path}' is larger than the {limit:,} pixels that are read; make it smaller"
        ) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds
        raise DataError(f"'{path}' is not an image that can be read: {one_line(error)}") from error
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _check(image: Image.Image, path: str) -> None:
    if image.mode[0] in "IF":  # I, I;16, I;16B, F
        raise DataError(
            f"'{path}' has more than 8 bits of grey (Pillow's mode {image.mode}), and nothing says "
            "which values are black and white; scale it to 0…255 and save it with 8 bits"
        )
    if _has_wide_colours(image):  # of which Pillow would keep the upper 8 bits
        raise DataError(
            f"'{path}' has more than 8 bits of each colour; scale it to 0…255 and save it with 8"
        )
    # Photographs of the format MPO come with previews of themselves.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"'{path}' holds {frames} images; save each to a file of its own")
    if image.has_transparency_data and np.array(image.convert("RGBA"))[..., 3].min() < 255:
        raise DataError(
            f"'{path}' is transparent in places, where it has no colour; put it on a "
            "background and save it without an alpha channel"
        )


def _has_wide_colours(image: Image.Image) -> bool:
    """Return whether the decoder is told of more than 8 bits for each colour."""
    for decoder, _, _, arguments in getattr(image, "tile", ()):
        told = arguments if isinstance(arguments, tuple) else (arguments,)
        largest = max((x for x in told if isinstance(x, int)), default=0)
        if any(";16" in str(x) for x in told) or (decoder.startswith("ppm") and largest > 255):
            return True
    return False
