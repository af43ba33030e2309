"""Handing a call that means the POSIX `cmp`, which compares files, to the next one on PATH."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

_SEEN = "CMP_HANDED_OVER_BY"
_SHORT = re.compile(r"-[lsb]+|-[lsb]*[in].*|-v")
_LONG = re.compile(r"--(bytes|ignore-initial|print-bytes|quiet|silent|verbose)(=.*)?")


def is_for_posix(arguments: Sequence[str], is_command: Callable[[str], bool]) -> bool:
    """Return whether the first argument is a POSIX (or GNU) option, `-`, or an existing file.

    >>> is_for_posix(["-s", "a", "b"], ["run"].__contains__)
    True
    """
    if not arguments:
        return False
    first = arguments[0]
    if first in ("-", "--") or _SHORT.fullmatch(first) or _LONG.fullmatch(first):
        return True
    is_file = Path(first).exists() and not Path(first).is_dir()  # a pipe, <(…), is a file too
    return is_file and not is_command(first)


def hand_over(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the next `cmp` on PATH that has not handed over itself."""
    # Two environments may both have our `cmp` on PATH: each adds itself, so neither is asked twice.
    seen = [*os.environ.get(_SEEN, "").split(os.pathsep), os.path.realpath(sys.argv[0])]
    for folder in os.get_exec_path():
        candidate = shutil.which("cmp", path=folder)
        if candidate and os.path.realpath(candidate) not in seen:
            os.environ[_SEEN] = os.pathsep.join(seen)
            os.execv(candidate, ["cmp", *arguments])
    sys.stderr.write(
        f"cmp: '{arguments[0]}' is for the POSIX cmp, which compares files, "
        "but there is no other 'cmp' on PATH. For this program, see 'cmp --help'.\n"
    )
    sys.exit(2)
