"""Tests of `cmp_core.plugins.interruption`: Ctrl-C once, twice, and a third time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmp_core.plugins.interruption import Interruption
from tests.hostile_plugins import write
from tests.run_files import newest

SIGNALS = [signal.SIGINT]


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_is_noted_and_says_what_is_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    subject = Interruption(waiting_for=lambda: "plugin a\x1b, which hangs")
    with subject.heeded(SIGNALS):
        press()
        assert subject.count == 1
        with pytest.raises(KeyboardInterrupt):
            press()
    told = capfd.readouterr().err
    assert r"waiting for plugin a\x1b, which hangs; Ctrl-C again to stop without wait" in told


def test_where_nothing_is_waited_for_the_first_interrupts() -> None:
    subject = Interruption(waiting_for=lambda: "nothing")
    subject.waits = False
    for interruption in (Interruption(), subject):
        with interruption.heeded(SIGNALS), pytest.raises(KeyboardInterrupt):
            press()


def test_one_of_several_processes_is_told_twice_and_goes_on() -> None:
    subject = Interruption(is_alone=False, waiting_for=lambda: "the step in hand to end")
    with subject.heeded(SIGNALS):
        press()
        press()
    assert subject.count == 2


def test_handlers_are_put_back_and_ignored_signals_left() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption().heeded(SIGNALS):
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with Interruption().heeded([signal.SIGUSR2]):
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


HANGS = """
import os, signal, time
from pathlib import Path
from cmp_core.plugins.interruption import Interruption

def last_words():
    Path("said").write_text("interrupted")
    {last}

with Interruption(last_words=last_words).heeded([signal.SIGINT]):
    while True:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        except BaseException:
            pass
"""


@pytest.mark.parametrize("last", ["pass", "raise ValueError", "time.sleep(30)"])
def test_the_third_ends_what_catches_everything(tmp_path: Path, last: str) -> None:
    program = [sys.executable, "-c", HANGS.format(last=last)]
    done = subprocess.run(program, cwd=tmp_path, timeout=25, check=False)
    assert done.returncode == 130
    assert (tmp_path / "said").read_text() == "interrupted"


HANGING = """
import time
from cmp_core import hookimpl

@hookimpl
def cmp_step_finished(event):
    while True:
        try:
            print("hangs", flush=True)
            time.sleep(100)
        except BaseException:
            pass
"""


def test_a_hanging_plugin_is_named_and_cannot_keep_a_run_from_ending(tmp_path: Path) -> None:
    (plugin,) = write(tmp_path, {"hanging": HANGING})
    options = ("--no-snapshots", "--metrics", "accuracy", "--plots", "[]", "--set", "device=cpu")
    command = [sys.executable, "-m", "cmp_core", "run", *options, "-p", plugin]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None

    def press_while_it_hangs() -> None:
        while process.stdout.readline() != "hangs\n":
            assert process.poll() is None
        time.sleep(1.2)  # with less it is not named
        process.send_signal(signal.SIGINT)

    press_while_it_hangs()
    assert process.stderr.readline() == "\n"
    told = process.stderr.readline()
    assert told.startswith("waiting for plugin hanging, which has been running in cmp_")
    process.send_signal(signal.SIGINT)
    press_while_it_hangs()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted in epoch 1, after step 1" in output
    status = json.loads((newest(tmp_path / "runs/digits/greedy") / "status.json").read_text())
    assert (status["state"], status["step"]) == ("interrupted", 1)
