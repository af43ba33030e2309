"""Tests of `cmp_core.cli._seeds`: which seeds are asked for."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from cmp_core.cli._seeds import Seeds, is_folder_of_replicates


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0-4", (0, 1, 2, 3, 4)),
        ("7", (7,)),
        ("3,0-1, 9", (3, 0, 1, 9)),
        ("5-5", (5,)),
        ("4294967295", (4294967295,)),
    ],
)
def test_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert Seeds().convert(text, None, None) == seeds


@pytest.mark.parametrize("text", ["", "a", "1.5", "-1", "1-", "1-2-3", "0,,1", "²", "1" * 11])
def test_what_is_no_seed_is_told(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected seeds such as 0-4 or 0,3,7, got"):
        Seeds().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4-0", "expected 1 to 1,000 seeds"),
        ("0-1000", "expected 1 to 1,000 seeds"),
        ("0-9999999999", "expected 1 to 1,000 seeds"),
        ("0-2,1", "expected each seed once"),
    ],
)
def test_too_few_too_many_and_twice_the_same(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        Seeds().convert(text, None, None)


def test_a_folder_of_replicates_is_no_run_and_holds_some(here: Path) -> None:
    assert is_folder_of_replicates(str(here))
    assert not is_folder_of_replicates(str(here / "A"))
    assert not is_folder_of_replicates(str(here / "folder"))
    assert not is_folder_of_replicates(str(here / "nowhere"))
    assert not is_folder_of_replicates(None)
