"""The command line as a user meets it: what is printed, and the exit code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = subprocess.CompletedProcess[str]
Cmp = Callable[..., Run]


def test_help_shows_examples_and_imports_no_torch() -> None:
    code = (
        "import sys, runpy\n"
        "sys.argv = ['cmp', '--help']\n"
        "try:\n    runpy.run_module('cmp_core', run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'scipy', 'torchvision'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cmp run -c greedy_mnist" in done.stdout


def test_importing_the_core_does_not_import_torch() -> None:
    code = "import cmp_core, sys; assert 'torch' not in sys.modules; cmp_core.metric"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_export_exists() -> None:
    import cmp_core

    assert set(cmp_core.__all__) <= set(dir(cmp_core))
    for name in cmp_core.__all__:
        assert getattr(cmp_core, name) is not None
    with pytest.raises(AttributeError, match="No cmp_core attribute nothing"):
        _ = cmp_core.nothing


def test_a_run_in_a_pipe_prints_plain_lines_and_the_results(cmp: Cmp, tmp_path: Path) -> None:
    done = cmp(
        "run",
        "--set",
        "epochs=2",
        "--set",
        "N=32",
        "--metrics",
        "margin",
        "--plots",
        "training_curves",
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    shown = done.stdout.splitlines()
    assert shown[0] == "greedy (5,248 parameters) on digits, 2 epochs of 41 steps, cpu"
    stored = "3 snapshots of 144 val samples, 139.4 kB each before compression, 418.2 kB in all"
    assert shown[2] == stored
    assert [line.split()[0] for line in shown[3:6]] == ["untrained", "epoch", "epoch"]
    assert re.search(r"layer_3 +0\.\d{4}", done.stdout)
    directory = shown[1].removeprefix("run directory ")
    assert shown[-1] == f"files in {directory}: report.html, 1 picture in plots"
    (accuracy,) = re.findall(r"test accuracy (0\.\d{4})", done.stdout)

    again = cmp("eval", directory, "--confusion")
    assert again.returncode == 0
    assert f"test accuracy {accuracy} " in again.stdout
    assert "a row per true class" in again.stdout
    resumed = cmp("run", "--resume", directory)
    assert f"test accuracy {accuracy} " in resumed.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "laers=3"], "laers: unknown key 'laers'; did you mean 'layers'?"),
        (["--set", "layers='4'"], "layers: expected a whole number, got '4'"),
        (["--set", "lambda_ace=[0.1]"], "a list of layers - 1 = 3 numbers, got a list of 1"),
        (["--set", "dataset=mnits"], "dataset: unknown dataset 'mnits'; did you mean 'mnist'?"),
        (["--set", "model=greddy"], "model: unknown model 'greddy'; did you mean 'greedy'?"),
        (["--set", "learning_rule=backprob"], "did you mean 'backprop'?"),
        (["--metrics", "acuracy"], "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        (["--metrics", "{name: margin, x: 1}"], "metric 'margin': unknown option 'x'"),
        (["--metrics", "[margin"], "--metrics is not valid YAML"),
        (["-c", "gredy_mnist"], "unknown preset 'gredy_mnist'; did you mean 'greedy_mnist'?"),
        (["-c", "broken.yaml"], "'broken.yaml' is not valid YAML (line 2"),
        (["-c", "none.yml"], "configuration 'none.yml' does not exist"),
        (["-p", "none.py"], "-p none.py: there is no such file"),
        (["--plugins-dir", "none"], "--plugins-dir: 'none' is not a folder"),
        (["--set", "N=9"], "got N = 9 for 10 classes"),
        (["--set", "N=9", "--set", "anchors=block"], "got N = 9 for 10 classes"),
        (["--set", "device=cuda:99"], "device: this machine has no device 'cuda:99'"),
        (["--set", "amp=true", "--set", "device=cpu"], "amp: expected a CUDA device, got cpu"),
        (["--set", "dataset=image_folder", "--set", "data_dir=none"], "dataset image_folder"),
        (["--set", "out=file/runs"], "out: cannot write to 'file/runs/digits/greedy'"),
        (["--resume", "none"], "run 'none' does not exist"),
        (["--resume", "x", "--metrics", "margin"], "only --set may be given"),
        (["--set", "seed=99999999999999999999"], "seed: expected a whole number from 0 to"),
        (
            ["--metrics", "acuracy,{name: margin, x: 1}", "--set", "dataset=mnits"],
            "has 3 mistakes:\n  dataset: unknown dataset 'mnits'; did you mean 'mnist'?\n"
            "  metrics[0]: unknown metric 'acuracy'; did you mean 'accuracy'?\n  metrics[1]: ",
        ),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_input_is_told_and_changes_nothing(
    cmp: Cmp, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "file").write_text("")
    done = cmp("run", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"broken.yaml", "file"}


def test_missing_data_is_told(cmp: Cmp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")  # nobody listens there
    done = cmp("run", "-c", "greedy_mnist", "--set", f"data_dir={tmp_path / 'none'}", cwd=tmp_path)
    assert done.returncode == 2
    assert "train-images-idx3-ubyte" in done.stderr
    assert "--set data_dir=FOLDER" in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_plugin_that_fails_costs_exit_code_3(cmp: Cmp, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from cmp_core import hookimpl\n"
        "@hookimpl\ndef cmp_epoch_finished(event):\n    raise ValueError('no such luck')\n"
    )
    done = cmp("run", "--set", "epochs=1", "-p", "bad.py", cwd=tmp_path)
    assert done.returncode == 3
    assert "plugin bad was switched off in cmp_epoch_finished: ValueError: no such luck" in (
        done.stderr
    )
    assert "plugin_errors.log" in done.stderr
    assert "test accuracy" in done.stdout


def test_a_dangerous_weight_is_warned_about(cmp: Cmp, tmp_path: Path) -> None:
    done = cmp("run", "--set", "epochs=1", "--set", "lambda_ace=0.5", cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: lambda_ace = 0.5 with ace_variant ce_i_next" in done.stderr


def test_a_preset_of_one_s_own_is_a_file(cmp: Cmp, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: mlp\nN: 32\nepochs: 1\n")
    done = cmp("run", "-c", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert "head" in done.stdout


def test_presets_are_listed(cmp: Cmp) -> None:
    done = cmp("run", "--presets")
    assert done.stdout.split() == sorted(done.stdout.split())
    assert "greedy_mnist" in done.stdout


# The name `cmp`


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


def call(script: Path, *arguments: str, path: list[Path] | None = None, stdin: str = "") -> Run:
    system = os.environ["PATH"].split(os.pathsep)
    folders = [str(script.parent), *(map(str, path) if path is not None else system)]
    return subprocess.run(
        [str(script), *arguments],
        cwd=script.parents[2],
        env=os.environ | {"PATH": os.pathsep.join(folders)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


posix_cmp = pytest.mark.skipif(not Path("/usr/bin/cmp").exists(), reason="there is no POSIX cmp")


@posix_cmp
def test_files_go_to_the_posix_cmp_and_its_exit_status_is_kept(script: Path) -> None:
    folder = script.parents[2]
    for name, text in {"a": "one\n", "same": "one\n", "b": "two\n"}.items():
        (folder / name).write_text(text)
    assert call(script, "a", "same").returncode == 0
    differs = call(script, "a", "b")
    assert differs.returncode == 1
    assert differs.stdout.startswith("a b differ:")
    assert call(script, "-s", "a", "b").returncode == 1
    assert call(script, "-s", "a", "b").stdout == ""
    assert call(script, "-l", "a", "b").stdout.count("\n") == 3
    assert call(script, "--silent", "a", "same").returncode == 0
    assert call(script, "-n", "2", "a", "same").returncode == 0
    assert call(script, "a", "missing").returncode == 2
    assert call(script, "-", "a", stdin="one\n").returncode == 0
    assert call(script, "--", "a", "b").returncode == 1
    substituted = ["bash", "-c", f"{script} <(echo one) <(echo two)"]
    done = subprocess.run(substituted, capture_output=True, text=True, check=False)
    assert "differ" in done.stdout
    assert call(script, "-", "a", stdin="two\n").returncode == 1


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
    assert call(script, "a", "b", path=folders).returncode == 1


def test_without_a_posix_cmp_it_says_so(script: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    done = call(script, "a", "a", path=[])
    assert done.returncode == 2
    assert "there is no other 'cmp' on PATH" in done.stderr


def test_our_commands_win_over_files_of_their_name(script: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert "Train a network" in call(script, "run", "--help").stdout


def test_a_mistyped_command_is_ours(script: Path) -> None:
    done = call(script, "rnu")
    assert done.returncode == 2
    assert "unknown command 'rnu'; did you mean 'run'?" in done.stderr
    assert call(script, "--hlep").returncode == 2
    assert call(script, "--version").stdout.startswith("cmp, version ")
