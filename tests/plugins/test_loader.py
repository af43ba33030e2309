"""Tests of `cmp_core.plugins.loader`: what is loaded, and what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cmp_core import hookimpl
from cmp_core.config.schema import Config
from cmp_core.errors import UsageError
from cmp_core.plugins.discovery import kinds_in
from cmp_core.plugins.loader import load_plugins
from tests.plugins.metric_files import names


def test_a_plugin_that_is_named_is_loaded_all_the_same(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMP_PLUGINS", "")
    assert "good" in load_plugins(["good"]).registry.names("metric")


def test_an_installed_plugin_named_by_its_module_is_the_same(site: Path) -> None:
    loaded = load_plugins(["good_module"])
    assert loaded.named == ("good",)
    assert loaded.registry.names("metric").count("good") == 1


def test_a_name_that_is_not_installed_is_told(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMP_PLUGINS", "goood")
    with pytest.raises(UsageError) as caught:
        load_plugins()
    message = "CMP_PLUGINS: unknown installed plugin 'goood'; did you mean 'good'?"
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["x = 1", "from cmp_metrics.margin import margin_metric"])
def test_a_file_that_is_no_plugin_is_told_with_the_shortest_one(
    write: Callable[..., Path], text: str
) -> None:
    path = write("nothing", text)
    with pytest.raises(UsageError) as caught:
        load_plugins([str(path)])
    told = str(caught.value)
    assert told.startswith(f"{path}: it defines nothing under @metric or @plot, and no hook under")
    name, function = re.findall(r'@metric\("(\w+)"\) above (def .*)$', told)[0]
    header, body = function.split(": ", 1)
    source = f"from cmp_core import metric\n@metric('{name}')\n{header}:\n    {body}\n"
    assert load_plugins([str(write("shortest", source))]).registry.of("shortest")[0][1] == name


DECLARED = """
from matplotlib.figure import Figure
from cmp_core import hookimpl, metric, plot, TensorSum
from cmp_metrics.margin import margin_metric

@plot("drawn", file="drawn")
def drawn(view):
    return Figure()

@metric("second")
def second(view):
    return view.activations.mean()

@metric("first", split="state")
class First(TensorSum):
    def update(self, view):
        self.add(view.activations.sum())

    def compute(self):
        return self.total

class Deeper(First):
    pass

@metric("of_a_plot_too")
def other(view):
    return 0.0

again = second
"""


@pytest.mark.parametrize(
    ("hook", "metrics", "plots"),
    [
        ("", ["first", "of_a_plot_too", "second"], ["drawn"]),
        ("metrics(register):\n    register(second)", ["second"], ["drawn"]),
        ("plots(register): pass", ["first", "of_a_plot_too", "second"], []),
        ("models(register): pass", ["first", "of_a_plot_too", "second"], ["drawn"]),
    ],
)
def test_what_a_file_declares_is_registered_where_no_hook_of_its_kind_does(
    write: Callable[..., Path], hook: str, metrics: list[str], plots: list[str]
) -> None:
    text = DECLARED + (f"\n@hookimpl\ndef cmp_register_{hook}\n" if hook else "")
    path = write("mine", text)
    registry = load_plugins([str(path)]).registry
    assert registry.names("metric", "mine") == metrics
    assert registry.names("plot", "mine") == plots
    assert set(kinds_in(path)) >= {kind for kind, _, _ in registry.of("mine")}


def test_of_a_module_and_an_installed_plugin_the_same_is_registered(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("declaring_module", DECLARED)
    monkeypatch.syspath_prepend(tmp_path)
    named = load_plugins(["declaring_module"])
    assert "second" in named.registry.names("metric", "declaring_module")
    install_entries(monkeypatch, installed=sys.modules.pop("declaring_module"))
    assert "second" in load_plugins().registry.names("metric", "installed")


def test_built_ins_are_found_by_file_name() -> None:
    folder = Path(__file__).parents[2] / "cmp_metrics"
    files = {path.stem for path in folder.glob("[!_]*.py")}
    assert set(load_plugins().registry.names("metric")) == files
    assert load_plugins().registry.names("model") == ["greedy", "mlp"]


def test_a_module_an_example_and_a_folder_are_loaded(
    write: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("module_plugin")
    monkeypatch.syspath_prepend(tmp_path)
    assert "module_plugin" in names(Config(), "module_plugin")
    assert "dead_units" in names(Config(), "cmp:dead_units")
    assert "module_plugin" in load_plugins(plugins_dir=tmp_path).registry.names("metric")


def test_nothing_is_loaded_from_the_working_directory_unasked(
    write: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("unasked")
    monkeypatch.chdir(tmp_path)
    assert "unasked" not in load_plugins().registry.names("metric")


def test_no_leaves_a_plugin_out() -> None:
    assert "margin" not in names(Config(), "no:margin")
    with pytest.raises(UsageError, match="-p no:margn: unknown plugin 'margn'; did you mean"):
        load_plugins(["no:margn"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 +", "could not be loaded: SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_step_finish(event): ...",
            "unknown hook 'cmp_step_finish'; did you mean 'cmp_step_finished'?",
        ),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_step_finished(evnt): ...",
            "evnt",
        ),
        (
            "from cmp_core import hookimpl\n@hookimpl(wrapper=True)\n"
            "def cmp_step_finished(event):\n    yield",
            "cmp_step_finished may not be a hook wrapper",
        ),
        ("def cmp_step_finished(event): ...", "put @hookimpl above cmp_step_finished"),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_metrics(register):\n"
            "    register(lambda view: 0)",
            "'<lambda>' is not declared to be a metric: put @metric(...) above it",
        ),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_models(register):\n"
            "    register(lambda: 0)",
            "register(factory, name=…) needs a name",
        ),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_metrics(register): 1 / 0",
            "cmp_register_metrics raised ZeroDivisionError",
        ),
        (
            "from cmp_core import metric\n@metric('margin')\ndef mine(view): return 0.0",
            "the metric 'margin' is registered already, by cmp_metrics.margin; leave that one out",
        ),
        (
            "class Odd:\n    def __call__(self): ...\n    __module__ = property(lambda x: 1 / 0)\n"
            "odd = Odd()",
            "looking for what is under @metric raised ZeroDivisionError",
        ),
        (
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_models(register):\n"
            "    register(lambda: 0, name='mlp')",
            "the model 'mlp' is registered already, by cmp_core.models.mlp; leave that one out",
        ),
    ],
)
def test_a_broken_plugin_that_was_asked_for_is_an_error(
    write: Callable[..., Path],
    text: str,
    message: str,
) -> None:
    path = write("broken", text)
    with pytest.raises(UsageError) as caught:
        load_plugins([str(path)])
    assert message in str(caught.value)
    assert "broken" in str(caught.value)


def test_two_plugins_with_one_name_name_both_origins(write: Callable[..., Path]) -> None:
    path = write("margin")
    with pytest.raises(UsageError) as caught:
        load_plugins([str(path)])
    assert str(caught.value) == (
        f"two plugins are named 'margin': cmp_metrics.margin and {path.resolve()}"
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.py", "-p missing.py: there is no such file"),
        ("acuracy", "unknown plugin 'acuracy'; did you mean 'accuracy'?"),
        ("cmp:dead_unit", "unknown example plugin 'dead_unit'; did you mean 'dead_units'?"),
    ],
)
def test_a_plugin_that_is_not_there_is_told(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_plugins([spec])
    assert message in str(caught.value)


def install_entries(monkeypatch: pytest.MonkeyPatch, **plugins: object) -> None:
    """Make entry points that load to plugins, or raise an exception that is given instead."""

    def entry(name: str, plugin: object) -> SimpleNamespace:
        def load() -> object:
            if isinstance(plugin, Exception):
                raise plugin
            return plugin

        dist = SimpleNamespace(name=f"{name}-dist")
        return SimpleNamespace(name=name, value=f"{name}_module", dist=dist, load=load)

    entries = [entry(name, plugin) for name, plugin in plugins.items()]
    monkeypatch.setattr(metadata, "entry_points", lambda group: entries)


def test_installed_plugins_are_loaded_and_a_broken_one_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = ModuleType("good")

    @hookimpl
    def cmp_register_models(register):
        register(lambda: None, name="linear")

    good.cmp_register_models = cmp_register_models
    install_entries(monkeypatch, good=good, bad=ImportError("no such thing"))
    plugins = load_plugins()
    assert "linear" in plugins.registry.names("model")
    (warning,) = map(str, plugins.broken)
    assert "plugin 'bad' (bad_module (installed by bad-dist)) could not be loaded" in warning
    assert "linear" not in load_plugins(["no:good"]).registry.names("model")
    with pytest.raises(UsageError, match="ImportError: no such thing"):
        load_plugins(["bad"])


def test_an_installed_plugin_that_breaks_a_rule_is_left_out_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = ModuleType("bad")

    @hookimpl
    def cmp_register_models(register):
        register(lambda: None, name="first")
        register(lambda: None, name="mlp")

    bad.cmp_register_models = cmp_register_models
    install_entries(monkeypatch, bad=bad)
    plugins = load_plugins()
    assert "the model 'mlp' is registered already" in str(plugins.broken[0])
    assert plugins.registry.names("model") == ["greedy", "mlp"]
    assert not plugins.manager.has_plugin("bad")


def test_a_built_in_can_be_left_out_for_a_file_of_its_name(write: Callable[..., Path]) -> None:
    plugins = load_plugins(["no:margin", str(write("margin"))])
    assert plugins.registry.get("metric", "margin").origin.endswith("margin.py")


def test_tests_in_a_folder_of_plugins_are_no_plugins(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write("mine")
    write("test_mine", "1 / 0")
    assert "mine" in load_plugins(plugins_dir=tmp_path).registry.names("metric")


@pytest.mark.parametrize(
    ("name", "message"),
    [("notes.txt", "expected a Python file, whose name ends in .py"), ("sub/", "it is a folder")],
)
def test_what_is_no_python_file_is_told(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        load_plugins([name])
