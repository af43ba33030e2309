"""`docs/plugins.md` says what the hooks are, and every block of code in it runs."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from cmp_core.events import activations, hookspecs, payloads
from cmp_core.measurement.metric import SPLITS
from cmp_core.plugins.discovery import example_folder
from cmp_core.plugins.loader import load_plugins
from tests import shipped
from tests.installed import install, python_path

DOCUMENT = Path(__file__).parents[1] / "docs" / "plugins.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.S | re.M)


FILES = {block.split("\n", 1)[0].removeprefix("# "): block for block in blocks("python")}


def hook_tables() -> tuple[str, str]:
    """The tables of registration and event hooks, from the specifications themselves."""
    registrations = ["| hook | what it does |", "|---|---|"]
    emitted = ["| hook | when | `event` has |", "|---|---|---|"]
    for name, spec in vars(hookspecs).items():
        if name.startswith("cmp_"):
            summary = " ".join((inspect.getdoc(spec) or "").split("\n\n")[0].split())
            parameters = inspect.signature(spec).parameters.values()
            told = ", ".join(f"{p.name}: {p.annotation.rsplit('.', 1)[-1]}" for p in parameters)
            if name.startswith("cmp_register"):
                registrations.append(f"| `{name}({told})` | {summary} |")
            else:
                fields = ", ".join(f"`{field}`" for field in payload(spec))
                emitted.append(f"| `{name}({told})` | {summary} | {fields} |")
    return "\n".join(registrations), "\n".join(emitted)


def payload(spec: Callable[..., object]) -> list[str]:
    """The fields of the payload that an event hook gets."""
    kind = inspect.signature(spec).parameters["event"].annotation.rsplit(".", 1)[-1]
    fields = attrs.fields(getattr(activations if hasattr(activations, kind) else payloads, kind))
    names = [field.name for field in fields if not field.name.startswith("_")]
    return [*names, "statistics"] if kind == "LayerActivations" else names


def examples_table() -> str:
    rows = ["| example | registers |", "|---|---|"]
    for path in sorted(example_folder().glob("[!_]*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        told = docstring.split("\n")[0]  # of listeners, whose libraries may be missing
        if f"cmp:{path.stem}" in shipped.EXAMPLES:
            entries = load_plugins([f"cmp:{path.stem}"]).registry.of(path.stem)
            told = "; ".join(f"{kind} `{name}`: {entry.summary}" for kind, name, entry in entries)
        rows.append(f"| `cmp:{path.stem}` | {told} |")
    return "\n".join(rows)


def test_the_table_of_split_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+?) \| .* \| .* \|$", TEXT, re.M)
    assert {name: told for name, told in rows if name in SPLITS} == dict(SPLITS)


def test_the_tables_are_those_of_the_code() -> None:
    for table in (*hook_tables(), examples_table()):
        assert table in TEXT, f"paste this table:\n{table}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the document's files."""
    folder = tmp_path_factory.mktemp("document")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def commands() -> Iterator[str]:
    """The document's commands, with all checks in one call."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    check = "cmp plugins check "
    yield check + " ".join(line.removeprefix(check) for line in lines if line.startswith(check))
    yield from (line for line in lines if not line.startswith(check))


def test_the_commands_run_one_after_the_other(folder: Path) -> None:
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}:{os.environ['PATH']}", "MPLBACKEND": "agg"}
    for command in commands():
        done = subprocess.run(
            ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_every_file_is_named_and_used_by_a_command() -> None:
    used = " ".join(commands())
    installed = {"seeds_command.py", "needs_api_2.py"}
    assert all(name.endswith(".py") for name in FILES)
    assert {name for name in FILES if name not in used} == installed


def test_the_command_of_the_document_is_added(folder: Path, tmp_path: Path) -> None:
    site = install(tmp_path / "site", "seeds", FILES["seeds_command.py"])
    environment = os.environ | {"PYTHONPATH": python_path(site)}
    call = [sys.executable, "-m", "cmp_core", "seeds", "--help"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert "Print the seeds of RUNS." in done.stdout


def test_the_plugin_that_asks_for_a_version_loads(folder: Path) -> None:
    assert load_plugins([str(folder / "needs_api_2.py")]).named == ("needs_api_2",)
