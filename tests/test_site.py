"""The documentation is built as a site, strictly, from `mkdocs.yml`."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cmp_core

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning: no link or anchor leads nowhere, no docstring is odd."""
    pytest.importorskip("mkdocstrings_handlers.python", reason="the extra [docs] is not installed")
    folder = tmp_path_factory.mktemp("site")
    call = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        call, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_has_its_entry(site: Path) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in site.glob("api/*.html"))
    entries = {path.rpartition(".")[2] for path in re.findall(r'<h2 id="([\w.]+)"', text)}
    functions = ast.parse((ROOT / "cmp_metrics" / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in functions.body if isinstance(node, ast.ImportFrom)]
    assert entries >= {*cmp_core.__all__, *(name.name for node in imports for name in node.names)}


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img|iframe)[^>]*(?:src|href)="?([^" >]*)', page.read_text()
        )
        assert loaded
        assert not [url for url in loaded if url.startswith(("http", "//"))]
    assert (site / "search" / "search_index.js").read_text().startswith("var __index = ")


def test_links_to_files_outside_the_folder_lead_to_pages(site: Path) -> None:
    assert 'href="docs' not in (site / "index.html").read_text()
    assert 'href="security.html"' in (site / "reliability.html").read_text()
    sink = (site / "files" / "plugins.html").read_text()
    assert 'id="wandb_sinkpy"' in sink
