"""Tests of `cmp_core.cli.posix`: calls that are meant for the POSIX `cmp`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.script import call_script

posix_cmp = pytest.mark.skipif(not Path("/usr/bin/cmp").exists(), reason="there is no POSIX cmp")


@posix_cmp
def test_files_go_to_the_posix_cmp_and_its_exit_status_is_kept(script: Path) -> None:
    folder = script.parents[2]
    for name, text in {"a": "one\n", "same": "one\n", "b": "two\n"}.items():
        (folder / name).write_text(text)
    assert call_script(script, "a", "same").returncode == 0
    differs = call_script(script, "a", "b")
    assert differs.returncode == 1
    assert differs.stdout.startswith("a b differ:")
    assert call_script(script, "-s", "a", "b").returncode == 1
    assert call_script(script, "-s", "a", "b").stdout == ""
    assert call_script(script, "-l", "a", "b").stdout.count("\n") == 3
    assert call_script(script, "--silent", "a", "same").returncode == 0
    assert call_script(script, "-n", "2", "a", "same").returncode == 0
    assert call_script(script, "a", "missing").returncode == 2
    assert call_script(script, "-", "a", stdin="one\n").returncode == 0
    assert call_script(script, "--", "a", "b").returncode == 1
    substituted = ["bash", "-c", f"{script} <(echo one) <(echo two)"]
    done = subprocess.run(substituted, capture_output=True, text=True, check=False)
    assert "differ" in done.stdout
    assert call_script(script, "-", "a", stdin="two\n").returncode == 1


@posix_cmp
def test_a_second_environment_on_path_makes_no_loop(script: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "bin"
    other.mkdir(parents=True)
    (other / "cmp").write_text(script.read_text())
    (other / "cmp").chmod(0o755)
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder" / "cmp").mkdir(parents=True)
    folders = [other, script.parent, other, tmp_path / "folder", Path("/usr/bin")]
    assert call_script(script, "a", "b", path=folders).returncode == 1


def test_without_a_posix_cmp_it_says_so(script: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    done = call_script(script, "a", "a", path=[])
    assert done.returncode == 2
    assert "there is no other 'cmp' on PATH" in done.stderr
