"""Packages that a run needs, as pip takes them: `NAME==VERSION`."""

from __future__ import annotations

import re
from importlib import metadata

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,98})==[A-Za-z0-9.+!_-]{1,100}")


def pip_line(requirement: object) -> str:
    """Return the line that installs what a run's file names; empty where the package is here.

    Empty, too, where the file says something else than a name and a version, which could be an
    option of pip or of the shell.

    >>> pip_line("no-such-package==1.0"), pip_line("attrs==1.0"), pip_line("-r /etc/passwd")
    ('pip install no-such-package==1.0', '', '')
    """
    found = _PINNED.fullmatch(requirement) if isinstance(requirement, str) else None
    if found is None:
        return ""
    try:
        metadata.version(found[1])
    except metadata.PackageNotFoundError:
        return f"pip install {requirement}"
    return ""
