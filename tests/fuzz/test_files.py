"""A bounded part of `tests.fuzz.files`: thirty damaged files."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from tests.fuzz.archives import evil_pickle
from tests.fuzz.damages import MARKER
from tests.small_runs import posix


@posix
def test_damaged_files_end_in_values_or_in_one_sentence() -> None:
    """In a process of its own: it forks, which those that have used several threads cannot."""
    command = [sys.executable, "-m", "tests.fuzz.files", "--count", "30", "--seed", "1000000"]
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "30 inputs" in done.stdout


def test_content_that_is_executed_would_be_noticed() -> None:
    pickle.loads(evil_pickle()).close()
    assert Path(MARKER).exists()
