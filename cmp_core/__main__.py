"""The entry point of `cmp`, `cmp-metrics` and `python -m cmp_core`."""

from __future__ import annotations

import sys
from pathlib import Path

from cmp_core.cli.posix import hand_over, is_for_posix


def main() -> None:
    """Hand a POSIX call to the POSIX `cmp`; otherwise run the command line."""
    from cmp_core.cli._streams import open_missing_streams

    open_missing_streams()
    from cmp_core.cli import cli

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
