"""Pages of the site that are no files of `docs/`, and links that work here as on GitHub.

MkDocs calls the functions that begin with `on_`. The README is the first page. A file outside
`docs/` that a page links to becomes a page with its text. The reference of the Python interface has
a page for each row of the table of public names in `library.md`.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
"""Documents at the top of the repository, and their pages."""

_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")
_FENCE = re.compile(r"(^```.*?^```$)", re.S | re.M)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the anchors of headings as GitHub makes them, so that a link works in both."""
    config.mdx_configs["toc"]["slugify"] = _anchor
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    for source, page in PAGES.items():
        files.append(_generated(config, page, (ROOT / source).read_text(encoding="utf-8")))
    for path in sorted(set(_linked(files))):
        files.append(_generated(config, _page_of(path), _listing(path)))
    for name, text in _reference():
        files.append(_generated(config, f"api/{name}.md", text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead from page to page, and have Markdown read inside `<details>`."""
    here = page.file.src_uri

    def rewritten(found: re.Match[str]) -> str:
        target = _page_of(_target(here, found[0]))
        return posixpath.relpath(target, posixpath.dirname(here) or ".")

    parts = _FENCE.split(markdown)
    parts[::2] = [_LINK.sub(rewritten, part) for part in parts[::2]]
    return "".join(parts).replace("<details>", '<details markdown="1">')


def _generated(config: MkDocsConfig, uri: str, text: str) -> File:
    return File.generated(config, uri, content=text)


# Links


def _anchor(heading: str, separator: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def _linked(files: Files) -> Iterator[str]:
    """Yield the files and folders outside `docs/` that pages link to."""
    for file in files.documentation_pages():
        text = "".join(_FENCE.split(file.content_string)[::2])
        for link in _LINK.findall(text):
            path = _target(file.src_uri, link)
            if not path.startswith("docs/") and path not in PAGES and (ROOT / path).exists():
                yield path


def _target(here: str, link: str) -> str:
    """Return what a link of a page leads to, as a path in the repository."""
    source = {page: name for name, page in PAGES.items()}.get(here, f"docs/{here}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _page_of(path: str) -> str:
    """Return where a path of the repository is found in the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PAGES.get(path, f"files/{path}.md")


def _listing(path: str) -> str:
    """Return a page with the text of a file, or of the files of a folder."""
    found = ROOT / path
    paths = sorted(found.glob("[!_.]*.*")) if found.is_dir() else [found]
    blocks = [_block(each, heading=found.is_dir()) for each in paths]
    return "\n".join([f"# {path}\n", *blocks])


def _block(path: Path, *, heading: bool) -> str:
    language = {".py": "python", ".yaml": "yaml", ".toml": "toml"}.get(path.suffix, "text")
    text = path.read_text(encoding="utf-8")
    title = f"## {path.name}\n\n" if heading else ""
    return f"{title}````{language}\n{text}````\n"


# The reference of the Python interface


def _reference() -> Iterator[tuple[str, str]]:
    """Yield the pages by name: one for each purpose, and the functions of arrays."""
    functions = _exports(ROOT / "cmp_metrics" / "__init__.py", "cmp_metrics")
    told = (
        "What `cmp_metrics` exports; [The built-in metrics](../metrics.md) says how they estimate."
    )
    yield "functions", _objects("Functions of arrays", told, functions.values())
    exports = _exports(ROOT / "cmp_core" / "__init__.pyi", "cmp_core")
    table = (ROOT / "docs" / "library.md").read_text(encoding="utf-8").partition("| purpose |")[2]
    for purpose, names in re.findall(r"^\| ([\w ]+) \| (.*) \|$", table, re.M):
        paths = [exports[name] for name in re.findall(r"`(\w+)`", names) if name in exports]
        yield purpose.replace(" ", "-"), _objects(purpose.capitalize(), "", paths)


def _exports(init: Path, package: str) -> dict[str, str]:
    """Return what a package imports, by name, with the path of where it is defined."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = f"{package}.{node.module}" if node.level else node.module
            found |= {alias.name: f"{module}.{alias.name}" for alias in node.names}
    return found


def _objects(title: str, told: str, paths: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", told, *(f"::: {path}" for path in paths)])
