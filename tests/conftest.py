"""Fixtures that many tests share."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import settings
from threadpoolctl import threadpool_limits

from cmp_core.config.schema import Config, Selection
from tests.installed import METRIC, install
from tests.small_runs import small

if TYPE_CHECKING:
    from cmp_core.workflow import Outcome

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

MNIST = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def mnist() -> Path:
    """The folder of the original MNIST; the test is skipped where it is missing."""
    if not (MNIST / "MNIST" / "raw").is_dir():
        pytest.skip("the original MNIST is not beside the checkout")
    return MNIST


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test finds or leaves anything in the checkout."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Keep linear algebra to one thread, in this process and in those that tests start.

    Small matrices wait for the others on a busy machine.
    """
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def _tiny(out: Path) -> Config:
    names = (
        "accuracy",
        "ace_regularizer",
        "alignment",
        "gaussian_entropy_ema",
        "margin",
        "mutual_information",
        "participation_ratio",
        "probe_accuracy",
    )
    return Config(
        N=24,
        layers=3,
        epochs=2,
        batch_size=128,
        out=str(out / "runs"),
        device="cpu",
        metrics=tuple(Selection(name, name) for name in names),
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Config:
    """A configuration that trains in half a second, with a metric of each way to cover a split."""
    return _tiny(tmp_path)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """A function that returns the run of `tiny` with a model; tests do not change its files."""
    from cmp_core import run

    @cache
    def finished(model: str = "greedy") -> Outcome:
        return run(attrs.evolve(_tiny(tmp_path_factory.mktemp("tiny")), model=model))

    return finished


@pytest.fixture
def tiny_copy(tiny_run: Callable[..., Outcome], tmp_path: Path) -> Outcome:
    """The run of `tiny` in a directory of its own, to be changed."""
    whole = tiny_run()
    copy = tmp_path / "copied" / whole.directory.name
    return attrs.evolve(whole, directory=shutil.copytree(whole.directory, copy))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a small run of two epochs with all snapshots; tests do not change it."""
    from cmp_core import run

    return run(small(tmp_path_factory.mktemp("finished"), epochs=2)).directory


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed plugins: a good one, and three that are broken in different ways."""
    folder = tmp_path / "site"
    marker = str(tmp_path / "imported")
    raises = METRIC.format(marker=marker, name="r") + "\nraise ValueError('no\\nway')"
    install(folder, "good", METRIC.format(marker=marker, name="good"))
    install(folder, "unreadable", "def cmp_register_metrics(register:\n")
    install(folder, "raises", raises)
    install(folder, "gone", "").joinpath("gone_module.py").unlink()
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("good", "raises"):
        sys.modules.pop(f"{name}_module", None)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The console script as an installer writes it, in a folder of its own."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    path = folder / "cmp"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom cmp_core.__main__ import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    return path


@pytest.fixture
def cmp() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a process of its own, as a user would."""

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cmp_core", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call
