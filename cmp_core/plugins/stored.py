"""What a run keeps of its plugins, and how they are had again where they are gone.

Files are copied into the run directory. Running a copy is running code that lies there, so it is
done only where it is asked for. Of an installed plugin the run knows the package and its version.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cmp_core.errors import UsageError
from cmp_core.plugins.fingerprints import fingerprints, packages
from cmp_core.plugins.loader import Plugins, is_path
from cmp_core.runs.directory import (
    ENVIRONMENT,
    PLUGINS,
    check_regular,
    folder_of_run,
    whole_file,
)
from cmp_core.runs.json_file import read_optional
from cmp_core.runs.requirements import pip_line
from cmp_core.text import in_one_line

FLAG = "--plugins-from-run"

_LARGEST = 2**24
"""Bytes of a copy that are read: no source has more, and a file of holes has any size."""


def plugins_basis(plugins: Plugins) -> dict[str, dict[str, str]]:
    """Return what `environment.json` says of plugins: hashes of files, versions of packages."""
    return {"plugins": fingerprints(plugins), "plugin_packages": packages(plugins)}


def keep_plugins(plugins: Plugins, directory: Path) -> None:
    """Copy the plugin files that were named, or are of a plugins folder, into a run directory.

    What is copied is what was executed, whatever has become of the file since.

    Raises:
        UsageError: the folder is a link.
    """
    names = [Path(spec).stem for spec in plugins.specs if is_path(spec)]
    if not names:
        return
    folder = folder_of_run(directory, PLUGINS)
    folder.mkdir(exist_ok=True)
    for name in names:
        with whole_file(folder / f"{name}.py") as file:
            file.write(plugins.files[name])


def copies_of(directory: Path) -> dict[str, Path]:
    """Return the plugin files that a run keeps, each with a hash that is right, by plugin name.

    Raises:
        UsageError: one is another file than the run was made with, a link, or cannot be read.
    """
    hashes = _hashes(directory)
    kept = {name: _place(directory, name) for name in hashes if Path(name).name == name}
    there = {name: path for name, path in kept.items() if path.exists() or path.is_symlink()}
    return {name: _checked(path, hashes[name]) for name, path in there.items()}


def stand_ins(directory: Path, specs: Iterable[str], *, asked: bool) -> dict[str, Path]:
    """Return the copies to read in place of the plugin files that a run names, by what names them.

    Args:
        directory: of the run.
        specs: `plugins:` of its configuration.
        asked: whether copies may be run; otherwise none is returned.

    Raises:
        UsageError: a file is gone, and its copy may not be run or there is none; or as `copies_of`.
    """
    files = [spec for spec in specs if is_path(spec)]
    copies = copies_of(directory) if asked else {}
    for spec in files:
        name = Path(spec).stem
        if asked and name not in copies:
            raise UsageError(
                f"{FLAG}: '{directory}' keeps no copy of the plugin {name}, '{spec}'; without "
                f"{FLAG} that file is loaded"
            )
        if not asked and not Path(spec).is_file():
            raise UsageError(f"the plugin file '{spec}' is gone{_offer(directory, name)}")
    return {spec: copies[Path(spec).stem] for spec in files} if asked else {}


def how_to_have(directory: Path, specs: Iterable[str]) -> str:
    """Return what adds plugin files that are gone to a measurement; empty where the run keeps none.

    >>> how_to_have(Path("nowhere"), ["/gone/mine.py", "cmp:sparsity"])
    ''
    """
    gone = [spec for spec in specs if is_path(spec) and not Path(spec).is_file()]
    if any(_place(directory, Path(spec).stem).is_file() for spec in gone):
        folder = shlex.quote(str(directory / PLUGINS))
        return f"to cmp recompute {FLAG}, which runs the code in {folder}"
    return ""


def missing_packages(directory: Path) -> str:
    """Return which plugins that were installed for a run are not here, and the pip line for them.

    Empty where all are here. What the line installs is what the run's file says.
    """
    required = _mapping(read_optional(directory / ENVIRONMENT, []), "plugin_packages")
    lines = {name: pip_line(requirement) for name, requirement in required.items()}
    missing = [f"{in_one_line(name)} ({line})" for name, line in lines.items() if line]
    return f"plugins that the run had and that are missing: {', '.join(missing)}" * bool(missing)


def _offer(directory: Path, name: str) -> str:
    copy = _place(directory, name)
    if copy.is_file():
        return f"; {FLAG} runs the copy that the run keeps, '{copy}': read it first"
    return f", and '{directory}' keeps no copy of it: put it back there"


def _place(directory: Path, name: str) -> Path:
    return directory / PLUGINS / f"{name}.py"


def _checked(path: Path, sha256: object) -> Path:
    """Return the path of a copy that may be run.

    Raises:
        UsageError: it is not what its hash says, a link, or cannot be read.
    """
    for place in (path.parent, path):
        if place.is_symlink():
            raise UsageError(f"{FLAG}: '{place}' is a link, and cmp runs no code through one")
    try:
        check_regular(path)
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"{FLAG}: '{path}' cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UsageError(
            f"{FLAG}: '{path}' is not the file that the run was made with, and is not run: "
            f"expected the SHA-256 {in_one_line(str(sha256), 64)} of {ENVIRONMENT}, got {found}"
        )
    return path


def _hashes(directory: Path) -> Mapping[str, Any]:
    """Return the hashes of a run's plugin files by plugin name.

    Raises:
        UsageError: the file that has them cannot be read.
    """
    problems: list[str] = []
    content = read_optional(directory / ENVIRONMENT, problems)
    if problems:
        raise UsageError(f"{FLAG}: without the hashes of the plugins none is run: {problems[0]}")
    return _mapping(content, "plugins")


def _mapping(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, Mapping) else {}
