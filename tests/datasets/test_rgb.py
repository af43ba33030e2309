"""Tests of image files of every kind, of which each is read with its content or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cmp_core.datasets._rgb import read_rgb
from PIL import Image

from cmp_core.errors import DataError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def grey(tmp_path: Path, image: Image.Image, suffix: str) -> np.ndarray[Any, Any]:
    """The grey levels of an image that was written and read."""
    path = tmp_path / f"image.{suffix}"
    image.save(path)
    levels = np.asarray(read_rgb(str(path)))
    assert levels.shape == (16, 16, 3)
    assert (levels == levels[:, :, :1]).all()
    return levels[:, :, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
def test_modes_of_eight_bits(tmp_path: Path, mode: str, suffix: str) -> None:
    expected = np.where(RAMP > 127, 255, 0) if mode == "1" else RAMP
    image = Image.fromarray(RAMP).point(lambda v: 255 * (v > 127), "1" if mode == "1" else "L")
    image = image if mode == "1" else Image.fromarray(RAMP).convert(mode)
    assert (grey(tmp_path, image, suffix) == expected).all()


@pytest.mark.parametrize(("kind", "suffix"), [("<u2", "png"), ("<u2", "tif"), (">u2", "tif")])
def test_sixteen_bits_are_scaled(tmp_path: Path, kind: str, suffix: str) -> None:
    image = Image.fromarray((RAMP.astype(np.uint16) * 257).astype(kind))
    assert (grey(tmp_path, image, suffix) == RAMP).all()


def test_sixteen_bits_of_a_portable_grey_map_are_scaled(tmp_path: Path) -> None:
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5 16 16 65535\n" + (RAMP.astype(">u2") * 257).tobytes())
    assert (np.asarray(read_rgb(str(path)))[:, :, 0] == RAMP).all()


def test_floats_from_zero_to_one_are_scaled(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP.astype(np.float32) / 255)
    assert (grey(tmp_path, image, "tif") == RAMP).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), "holds floats from 0 to 255, whose full range is not known"),
        (RAMP.astype(np.float32) - 1, "holds floats from -1 to 254"),
        (np.full((4, 4), np.nan, np.float32), "holds floats from nan to nan"),
        (RAMP.astype(np.int32) * 10_000, "holds whole numbers of 32 bits from 0 to 2.55e"),
        (RAMP.astype(np.int16), "holds whole numbers of 32 bits from 0 to 255"),
    ],
)
def test_numbers_of_no_known_range_are_refused(
    tmp_path: Path, values: np.ndarray[Any, Any], message: str
) -> None:
    path = tmp_path / "cell.tif"
    image = Image.fromarray(values) if values.dtype != np.int16 else None
    if image is None:
        header = Image.fromarray(values.astype(np.uint16))
        header.save(path, tiffinfo={339: 2})  # SampleFormat: signed
    else:
        image.save(path)
    with pytest.raises(DataError, match=message) as caught:
        read_rgb(str(path))
    assert f"'{path}' holds" in str(caught.value)


def shapes(colour: int) -> Image.Image:
    """One colour everywhere, and all content in the alpha channel."""
    image = Image.new("LA", (16, 16), (colour, 0))
    image.putalpha(Image.fromarray(RAMP))
    return image


@pytest.mark.parametrize("colour", [0, 60, 200, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_content_of_an_alpha_channel_is_seen(tmp_path: Path, colour: int, mode: str) -> None:
    levels = grey(tmp_path, shapes(colour).convert(mode), "png").astype(int)
    alpha = RAMP / 255
    assert np.abs(levels - (alpha * colour + (1 - alpha) * 127)).max() <= 1


@pytest.mark.parametrize("colour", [120, 127, 130])
def test_content_that_the_background_hides_is_refused(tmp_path: Path, colour: int) -> None:
    path = tmp_path / "icon.png"
    shapes(colour).save(path)
    with pytest.raises(DataError, match=r"icon\.png' has content that is lost where it is transp"):
        read_rgb(str(path))


def test_an_image_that_is_wholly_transparent_is_refused_if_it_has_content(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("RGBA")
    image.putalpha(0)
    image.save(tmp_path / "lost.png")
    with pytest.raises(DataError, match="lost where it is transparent"):
        read_rgb(str(tmp_path / "lost.png"))
    Image.new("RGBA", (16, 16), (255, 255, 255, 0)).save(tmp_path / "blank.png")
    assert np.asarray(read_rgb(str(tmp_path / "blank.png"))).std() <= 1


def test_a_transparent_colour_of_a_palette_is_background(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])  # black on transparent black
    image.putpixel((1, 1), 1)
    for suffix in ("png", "gif"):
        path = tmp_path / f"image.{suffix}"
        image.save(path, transparency=0)
        levels = np.asarray(read_rgb(str(path)))
        assert levels[1, 1].tolist() == [0, 0, 0]
        assert levels[0, 0].tolist() == [127, 127, 127]


def test_transparency_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(path, transparency=0)
    with pytest.raises(DataError, match=r"deep\.png' is transparent and of mode I;16"):
        read_rgb(str(path))


def test_cmyk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "print.tif"
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(path)
    assert np.asarray(read_rgb(str(path)))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_several_frames_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film.{suffix}"
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"film\.\w+' holds 2 frames, expected one"):
        read_rgb(str(path))


def test_an_image_above_the_size_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(RAMP).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"large\.png' has more pixels than are read"):
        read_rgb(str(path))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow would warn
    assert read_rgb(str(path)).size == (16, 16)


@pytest.mark.parametrize("content", ["nothing", "text", "half"])
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "cat.png"
    Image.fromarray(RAMP).save(path)
    whole = path.read_bytes()
    half = whole[: len(whole) // 2]
    path.write_bytes({"nothing": b"", "text": b"woof", "half": half}[content])
    with pytest.raises(DataError, match=r"cat\.png' is not an image that can be read"):
        read_rgb(str(path))
