"""Tests of `cmp_core.runs.walking`: folders of any number, of which so many are looked into."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from cmp_core.runs.walking import Walk


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/b/c", "d", ".hidden/e"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("x.h5", "a/end", "a/b/y.h5", "d/.z.h5"):
        (tmp_path / name).touch()
    (tmp_path / "d" / "loop").symlink_to(tmp_path)
    return tmp_path


def walked(walk: Walk, root: Path) -> dict[str, set[str]]:
    return {str(folder.path.relative_to(root)): set(folder.files) for folder in walk}


def test_every_folder_is_yielded_once_the_nearest_first(tree: Path) -> None:
    found = walked(Walk(tree), tree)
    links = {"loop"}  # which is no folder to go into
    assert found == {".": {"x.h5"}, "a": {"end"}, "d": links, "a/b": {"y.h5"}, "a/b/c": set()}
    assert [path.count("/") for path in found] == [0, 0, 0, 1, 2]


def test_nothing_is_looked_for_below_an_end(tree: Path) -> None:
    assert set(walked(Walk(tree, "end"), tree)) == {".", "a", "d"}


@pytest.mark.parametrize(("most", "is_whole"), [(1, False), (4, False), (5, True)])
def test_it_is_known_whether_that_was_all(tree: Path, most: int, is_whole: bool) -> None:
    walk = Walk(tree, most=most)
    assert (len(walked(walk, tree)), walk.is_whole) == (most, is_whole)


def test_a_folder_that_has_gone_is_left_out_but_for_the_first(tree: Path) -> None:
    walk = iter(Walk(tree))
    next(walk)
    (tree / "d" / "loop").unlink()
    (tree / "d" / ".z.h5").unlink()
    (tree / "d").rmdir()
    assert {folder.path.name for folder in walk} == {"a", "b", "c"}
    with pytest.raises(FileNotFoundError):
        list(Walk(tree / "none"))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_the_whole_system_is_looked_into_in_so_many_steps() -> None:
    walk = Walk(Path(os.sep), most=200)
    assert (sum(1 for _ in walk), walk.is_whole) == (200, False)
