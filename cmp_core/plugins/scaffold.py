"""New plugins from templates: a file and its test, or a project around them."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from cmp_core.errors import UsageError
from cmp_core.plugins.discovery import DISTRIBUTION, list_plugins
from cmp_core.runs.directory import write_whole

USAGE = {
    "metric": "cmp run",
    "plot": "cmp plot {name} RUN",
    "dataset": "cmp run --set dataset={name}",
    "model": "cmp run --set model={name}",
    "rule": "cmp run --set learning_rule={name}",
}
"""The kinds that there are templates of, and what calls an installed plugin of each."""

_IN_WORDS = {"rule": "learning rule"}
"""What a kind is called in a sentence, where it is not called like the command's argument."""


def write_plugin(kind: str, name: str, folder: Path, *, package: bool = False) -> list[Path]:
    """Write a plugin that works as it is, and return the files.

    Args:
        kind: a key of `USAGE`.
        name: of what it registers, a Python name in lower case.
        folder: where the files or the project's folder go.
        package: whether to write an installable project, `cmp-NAME`.

    Raises:
        UsageError: the name is none or taken, or a file is there already.
    """
    if not (name.isidentifier() and name.islower()) or keyword.iskeyword(name):
        raise UsageError(
            f"NAME: expected a Python name in lower case, such as class_cosine, got '{name}'"
        )
    if name in {listing.name.removesuffix("_plot") for listing in list_plugins()}:
        raise UsageError(f"NAME: there is a plugin '{name}' already; cmp plugins lists them")
    project = f"cmp-{name.replace('_', '-')}"
    module = f"cmp_{name}" if package else name
    values = {
        "kind": _IN_WORDS.get(kind, kind),
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "module": module,
        "used_as": name if package else f"{name}.py",
        "project": project,
        "distribution": DISTRIBUTION,
        "version": metadata.version(DISTRIBUTION),
        "usage": USAGE[kind].format(name=name),
    }
    files = dict(_package(kind, name, module) if package else _files(kind, name))
    root = folder / project if package else folder
    for path in files:
        if (root / path).exists():
            raise UsageError(f"'{root / path}' is there already, and is not overwritten")
    templates = Environment(
        loader=PackageLoader("cmp_core.plugins", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    for path, template in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(root / path, templates.get_template(template).render(values))
    return [root / path for path in files]


def _files(kind: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each file and its template."""
    yield f"{name}.py", f"{kind}.py.jinja"
    yield f"test_{name}.py", f"test_{kind}.py.jinja"


def _package(kind: str, name: str, module: str) -> Iterator[tuple[str, str]]:
    yield f"src/{module}.py", f"{kind}.py.jinja"
    yield f"tests/test_{name}.py", f"test_{kind}.py.jinja"
    yield "pyproject.toml", "package/pyproject.toml.jinja"
    yield "README.md", "package/README.md.jinja"
    yield ".github/workflows/test.yml", "package/test.yml.jinja"
