"""`cmp plugins new`: what it writes works, reads well, and replaces nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.cli._checks import check_plugins
from cmp_core.errors import UsageError
from cmp_core.plugins.scaffold import USAGE, write_plugin
from tests.installed import python_path

KINDS = tuple(USAGE)
Call = Callable[..., subprocess.CompletedProcess[str]]


def succeeds(*command: object, cwd: Path) -> None:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("package", [False, True], ids=["file", "package"])
def test_what_is_written_is_lint_free(package: bool, tmp_path: Path) -> None:
    for kind in KINDS:
        write_plugin(kind, f"my_{kind}", tmp_path, package=package)
    folders = sorted(tmp_path.iterdir()) if package else [tmp_path]
    rules = ("--isolated", "--line-length", 100)
    selected = ("--select", "E,F,W,I,B,UP,C4,SIM,RUF")
    for folder in folders:  # which tells what is a project's own from what is not
        succeeds(sys.executable, "-m", "ruff", "check", *rules, *selected, ".", cwd=folder)
    succeeds(sys.executable, "-m", "ruff", "format", "--check", *rules, ".", cwd=tmp_path)


def test_their_own_tests_pass(tmp_path: Path) -> None:
    for kind in KINDS:
        write_plugin(kind, f"my_{kind}", tmp_path)
    succeeds(sys.executable, "-m", "pytest", "-W", "error", "-q", cwd=tmp_path)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"plot"}))  # whose own test is the kit
def test_it_passes_the_kit(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_plugin(kind, "mine", Path())
    assert check_plugins(["mine.py"]) == 0, capsys.readouterr().out


def test_a_package_is_built_installed_and_found(
    tmp_path: Path, cmp: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cmp("plugins", "new", "metric", "my_metric", "--package", cwd=tmp_path)
    project, site = tmp_path / "cmp-my-metric", tmp_path / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    succeeds(*pip, "--no-build-isolation", "--target", site, project, cwd=tmp_path)
    monkeypatch.setenv("PYTHONPATH", python_path(site))
    assert "cmp_my_metric (installed by cmp-my-metric)" in cmp("plugins").stdout
    succeeds(sys.executable, "-m", "pytest", "-q", "tests", cwd=project)
    small = ("--set", "epochs=1", "--set", "N=16", "--plots", "[]", "--no-snapshots")
    done = cmp("run", *small, "--metrics", "my_metric", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("runs/*/*/*/log.jsonl")
    assert '"my_metric": ' in log.read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("precious")
    with pytest.raises(UsageError, match=r"test_mine\.py' is there already"):
        write_plugin("metric", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["", "a-b", "1st", "Mine", "class", "a/b", "../up", "ä ö"])
def test_a_name_that_is_none_is_told(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a Python name in lower case, such as"):
        write_plugin("metric", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_that_another_plugin_has_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is a plugin 'margin' already"):
        write_plugin("metric", "margin", tmp_path)
