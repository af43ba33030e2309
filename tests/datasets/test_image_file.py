"""Tests of reading one image file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from cmp_core.datasets._image_file import read_image
from cmp_core.errors import DataError

GREY = np.arange(12, dtype="uint8").reshape(3, 4) * 20


def saved(image: Image.Image, path: Path, **options: object) -> str:
    image.save(path, **options)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_eight_bits_and_less_are_read_as_they_look(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (5, 5), (255, 255, 255)).convert(mode)
    assert read_image(saved(image, tmp_path / "a.tif"), 2).tolist() == [[[255] * 2] * 2] * 3


def test_rows_and_columns_stay_where_they_are(tmp_path: Path) -> None:
    image = Image.fromarray(GREY[:, :3])
    assert read_image(saved(image, tmp_path / "a.png"), 3)[1].tolist() == GREY[:, :3].tolist()


def write_png(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write 16 bits of colour, which Pillow does not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    data = chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)


def test_sixteen_bits_of_colour_are_refused(tmp_path: Path) -> None:
    """Pillow would keep the upper eight, of 0 to 255 nothing."""
    portable, png = tmp_path / "a.ppm", tmp_path / "a.png"
    portable.write_bytes(b"P6 1 1 65535\n" + bytes([0, 0, 128, 0, 255, 255]))
    write_png(png, np.arange(12).reshape(2, 2, 3))
    for path in (portable, png):
        with pytest.raises(DataError, match=rf"{path.name}' has more than 8 bits of each colour"):
            read_image(str(path), 1)
    portable.write_bytes(b"P6 1 1 255\n" + bytes([0, 128, 255]))
    assert read_image(str(portable), 1).flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (GREY.astype("uint16") * 257, "a.png"),
        (GREY.astype("uint16"), "a.tif"),
        (GREY.astype(">u2") * 257, "a.tif"),
        (GREY.astype("int32") * 1000, "a.tif"),
        (GREY.astype("float32") / 255, "a.tif"),
        (GREY.astype("float32") * 1e4, "a.tif"),
    ],
)
def test_more_bits_of_grey_are_refused(tmp_path: Path, array: np.ndarray, name: str) -> None:
    path = saved(Image.fromarray(array), tmp_path / name)
    with pytest.raises(DataError, match=rf"'{path}' has more than 8 bits of grey .*mode [IF]"):
        read_image(path, 3)


def test_pillow_warns_nobody_of_damaged_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = Path(saved(Image.fromarray(GREY), path)).read_bytes()
    (directory,) = struct.unpack_from("<I", data, 4)
    path.write_bytes(data[: directory + 2 + 12 + 4])
    with pytest.warns(UserWarning, match="Corrupt EXIF"), pytest.raises(UnidentifiedImageError):
        Image.open(path)
    with pytest.raises(DataError, match="UnidentifiedImageError"):  # a warning is an error in tests
        read_image(str(path), 2)


def test_a_grey_map_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 1 1 4095\n" + bytes([15, 0]))
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(str(tmp_path / "a.pgm"), 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_transparent_pixels_are_refused_and_opaque_ones_are_read(tmp_path: Path, mode: str) -> None:
    alpha = Image.fromarray(GREY)
    image = Image.new("RGB", alpha.size)
    image.putalpha(alpha)
    options = {} if mode in ("RGBA", "LA") else {"transparency": (0, 0, 0) if mode == "RGB" else 0}
    path = saved(image.convert(mode), tmp_path / "a.png", **options)
    with pytest.raises(DataError, match=f"'{path}' is transparent in places"):
        read_image(path, 3)
    image.putalpha(255)
    if mode in ("RGBA", "LA"):
        assert not read_image(saved(image.convert(mode), tmp_path / "b.png"), 3).any()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_a_stack_of_images_is_refused(tmp_path: Path, name: str) -> None:
    pages = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 99, 200)]
    path = saved(pages[0], tmp_path / name, save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=f"'{path}' holds 3 images"):
        read_image(path, 3)


@pytest.mark.parametrize("content", [b"", b"woof", b"\x89PNG\r\n\x1a\n\0\0", None])
def test_what_is_no_whole_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is None:
        noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype="uint8")
        content = Path(saved(Image.fromarray(noise), path)).read_bytes()[:1000]
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"'{path}' is not an image that can be read: "):
        read_image(str(path), 3)


def test_an_image_above_pillows_limit_is_named_and_one_below_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("RGB", (30, 30)), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 449)
    with pytest.raises(DataError, match=f"'{path}' is larger than the 898 pixels"):
        read_image(path, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 450)  # where Pillow warns
    assert read_image(path, 3).shape == (3, 3, 3)
