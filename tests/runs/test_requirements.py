"""Tests of `cmp_core.runs.requirements`: a line for pip, and nothing else."""

from __future__ import annotations

import pytest

from cmp_core.runs.requirements import pip_line


def test_a_package_that_is_missing_is_to_be_installed_in_its_version() -> None:
    assert pip_line("no-such.package==1.0+cpu") == "pip install no-such.package==1.0+cpu"
    assert pip_line("numpy==0.1") == ""  # another version is there, which is told elsewhere


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        "",
        "gone",
        "gone>=1",
        "-r==1",
        "gone==1; rm x",
        "gone==1\n",
        "gone==1 --index-url=http",
        "a" * 200 + "==1",
        "gönе==1",
        "git+https://x/y==1",
    ],
)
def test_what_is_no_name_with_a_version_makes_no_line(odd: object) -> None:
    assert pip_line(odd) == ""
