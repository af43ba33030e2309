"""The wheel, installed elsewhere: presets, example plugins and the command are in it."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_users_need_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "cmp_core/configs/greedy_mnist.yaml" in names
    assert "cmp_core/examples/dead_units.py" in names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"cmp_core", "cmp_metrics", "cmp_plots"}
    assert {"cmp_core/reporting/report.html.jinja", "cmp_core/reporting/style.css"} <= set(names)


def test_a_preset_runs_from_a_clean_environment(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel in a new environment that borrows only the dependencies of this one."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = next((home / "lib").glob("python*/site-packages"))
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    target = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *target], check=True)
    # A path entry after the wheel's own folder, without the .pth file of an editable install.
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    where = "import cmp_core; print(cmp_core.__file__)"
    found = subprocess.check_output([python, "-c", where], cwd=tmp_path, text=True)
    assert found.startswith(str(site))
    command = [python, "-m", "cmp_core", "run", "-c", "mlp_digits", "-p", "cmp:dead_units"]
    few = ["--set", "epochs=1", "--plots", "training_curves"]
    done = subprocess.run(
        [*command, *few], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    log = next((tmp_path / "runs").glob("digits/mlp/0001_*/log.jsonl")).read_text()
    assert "dead_units" in log
