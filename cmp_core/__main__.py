"""The entry point of `cmp`, `cmp-metrics` and `python -m cmp_core`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cmp_core.cli.posix import hand_over, is_for_posix

_SPINS = "1000"
"""How often a waiting OpenMP thread looks again before it sleeps: what GNU's libgomp takes itself
where it has more threads than processors. With its other default, 300,000, two threads on two busy
cores take twelve times as long as one; on quiet cores this is no slower, see
`tests/benchmarks/threads.py`."""


def main() -> None:
    """Hand a POSIX call to the POSIX `cmp`; otherwise run the command line."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)  # before torch loads the library
    from cmp_core.cli._streams import open_missing_streams

    open_missing_streams()
    from cmp_core.cli import cli
    from cmp_core.cli._imports import own_process

    own_process()
    if Path(sys.argv[0]).name == "cmp" and is_for_posix(sys.argv[1:], cli.has):
        hand_over(sys.argv[1:])
    code = 1
    try:
        cli(prog_name=None if Path(sys.argv[0]).name != "__main__.py" else "python -m cmp_core")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        if "cmp_core.plugins.loader" in sys.modules:  # whose plugins may have left something on
            from cmp_core.plugins.threads import end_in_time

            end_in_time(code)


if __name__ == "__main__":
    main()
