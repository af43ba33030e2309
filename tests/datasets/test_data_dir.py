"""Tests of the folder that datasets are read from."""

from __future__ import annotations

from pathlib import Path

import pytest
from cmp_core.datasets._data_dir import data_dir

from cmp_core.config.schema import Config
from cmp_core.datasets.image_folder import load_image_folder
from cmp_core.datasets.mnist import load_mnist
from cmp_core.errors import DataError


@pytest.mark.parametrize("load", [load_image_folder, load_mnist, data_dir])
def test_a_file_is_no_folder(tmp_path: Path, load: object) -> None:
    archive = tmp_path / "images.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"expected a folder, got the file '.*images\.zip'; unpack"):
        load(Config(data_dir=str(archive)))  # type: ignore[operator]


def test_a_folder_need_not_be_there(tmp_path: Path) -> None:
    assert data_dir(Config(data_dir=str(tmp_path / "new"))) == tmp_path / "new"
