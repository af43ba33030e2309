"""Tests of what the readers through torchvision share: what is missing or damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cmp_core.config.schema import Config
from cmp_core.datasets.mnist import load_mnist
from cmp_core.errors import DataError
from tests.small_runs import posix


def test_missing_data_says_what_was_looked_for_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError) as caught:
        load_mnist(Config(data_dir=str(tmp_path / "nowhere")))
    message = str(caught.value)
    assert str(tmp_path / "nowhere" / "MNIST/raw/train-images-idx3-ubyte") in message
    assert "--set data_dir=FOLDER" in message
    assert not (tmp_path / "nowhere").exists()  # the attempt to download leaves nothing


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (folder / f"{split}-{kind}-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x05ab")
    with pytest.raises(DataError, match="could not be read"):
        load_mnist(Config(data_dir=str(tmp_path)))
    assert len(list(folder.iterdir())) == 4


@posix
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_what_would_never_be_read_to_its_end_is_not_begun(tmp_path: Path, name: str) -> None:
    """Such as a pipe, and a file that says to be large and takes no place on the disk."""
    path = tmp_path / "MNIST" / "raw" / name
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(DataError, match="expected a regular file"):
        load_mnist(Config(data_dir=str(tmp_path)))
    path.unlink()
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(DataError, match="expected at most 1,073,741,824 bytes"):
        load_mnist(Config(data_dir=str(tmp_path)))
