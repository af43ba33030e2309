"""`cmp run` as a user meets it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cmp_core", "run", "--set", "epochs=500"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch"))
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    (directory,) = (tmp_path / "runs" / "digits" / "greedy").iterdir()
    assert f"state saved; go on with: cmp run --resume {directory}" in rest
    assert (directory / "last.pt").exists()
