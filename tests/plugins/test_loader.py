from __future__ import annotations

from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from cmp_core import hookimpl
from cmp_core.config.load import build_config
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import ConfigError, UsageError
from cmp_core.measurement.selection import select_metrics
from cmp_core.plotting.plot import select_plots
from cmp_core.plugins.loader import load_plugins

METRIC = """
from cmp_core import hookimpl, metric

@metric("{name}")
def it(view, *, power: int = 1):
    '''The mean activation.'''
    return view.activations.mean() ** power

@hookimpl
def cmp_register_metrics(register):
    register(it)
"""


@pytest.fixture
def write(tmp_path: Path):
    def write_plugin(name: str, text: str = METRIC) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text.format(name=name) if text is METRIC else text)
        return path

    return write_plugin


def names(config: Config, *specs: object) -> list[str]:
    plugins = load_plugins(map(str, specs))
    return [metric.label for metric in select_metrics(plugins, config)]


def test_built_ins_are_found_by_file_name() -> None:
    folder = Path(__file__).parents[2] / "cmp_metrics"
    files = {path.stem for path in folder.glob("[!_]*.py")}
    assert set(load_plugins().registry.names("metric")) == files
    assert load_plugins().registry.names("model") == ["greedy", "mlp"]


def test_a_file_named_with_p_is_loaded_and_its_metrics_selected(write) -> None:
    path = write("mine")
    assert "mine" in names(Config(), path)
    only = Config(metrics=(Selection("margin", "margin"),))
    assert names(only, path) == ["margin", "mine"]


def test_one_metric_twice_with_different_options(write) -> None:
    config = Config(metrics=(Selection("mine", "one"), Selection("mine", "two", {"power": 2})))
    metrics = select_metrics(load_plugins([str(write("mine"))]), config)
    assert [(m.label, dict(m.options)) for m in metrics] == [("one", {}), ("two", {"power": 2})]


def test_slow_metrics_can_be_dropped(write) -> None:
    path = write("slow", METRIC.format(name="slow").replace('("slow")', '("slow", slow=True)'))
    assert "slow" in names(Config(), path)
    assert "slow" not in names(Config(enable_slow_metrics=False), path)


def test_a_module_an_example_and_a_folder_are_loaded(
    write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("module_plugin")
    monkeypatch.syspath_prepend(tmp_path)
    assert "module_plugin" in names(Config(), "module_plugin")
    assert "dead_units" in names(Config(), "cmp:dead_units")
    assert "module_plugin" in load_plugins(plugins_dir=tmp_path).registry.names("metric")


def test_nothing_is_loaded_from_the_working_directory_unasked(
    write,
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


def test_the_same_plugin_twice_is_once(write) -> None:
    path = write("mine")
    assert names(Config(), path, path).count("mine") == 1


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
            "from cmp_core import hookimpl\n@hookimpl\ndef cmp_register_models(register):\n"
            "    register(lambda: 0, name='mlp')",
            "the model 'mlp' is registered already, by cmp_core.models.mlp; leave that one out",
        ),
    ],
)
def test_a_broken_plugin_that_was_asked_for_is_an_error(
    write,
    text: str,
    message: str,
) -> None:
    path = write("broken", text)
    with pytest.raises(UsageError) as caught:
        load_plugins([str(path)])
    assert message in str(caught.value)
    assert "broken" in str(caught.value)


def test_two_plugins_with_one_name_name_both_origins(write) -> None:
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


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        names(Config(metrics=(Selection("acuracy", "acuracy"),)))


def install(monkeypatch: pytest.MonkeyPatch, **plugins: object) -> None:
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
    install(monkeypatch, good=good, bad=ImportError("no such thing"))
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
    install(monkeypatch, bad=bad)
    plugins = load_plugins()
    assert "the model 'mlp' is registered already" in str(plugins.broken[0])
    assert plugins.registry.names("model") == ["greedy", "mlp"]
    assert not plugins.manager.has_plugin("bad")


def test_a_built_in_can_be_left_out_for_a_file_of_its_name(write) -> None:
    plugins = load_plugins(["no:margin", str(write("margin"))])
    assert plugins.registry.get("metric", "margin").origin.endswith("margin.py")


def select(*entries: object, **settings: object) -> list[tuple[str, str, dict[str, object]]]:
    config = build_config({"metrics": list(entries), **settings})
    metrics = select_metrics(load_plugins(), config)
    return [(m.definition.name, m.label, dict(m.options)) for m in metrics]


EVERYTHING = {name for name, _, _ in select("all")}


def test_a_metric_is_switched_off_chosen_and_chosen_twice() -> None:
    assert {name for name, _, _ in select("no:margin")} == EVERYTHING - {"margin"}
    assert {name for name, _, _ in select("all", "no:margin")} == EVERYTHING - {"margin"}
    assert select("margin", "accuracy") == [("margin", "margin", {}), ("accuracy", "accuracy", {})]
    twice = select("all", {"name": "mutual_information", "label": "mi_8", "snr": 8})
    assert [entry for entry in twice if entry[0] == "mutual_information"] == [
        ("mutual_information", "mi_8", {"snr": 8}),
        ("mutual_information", "mutual_information", {}),
    ]
    assert select() == []
    instead = select("all", {"name": "linear_cka", "debiased": False})
    assert [x for x in instead if x[0] == "linear_cka"] == [
        ("linear_cka", "linear_cka", {"debiased": False})
    ]


def test_slow_metrics_alone_are_dropped() -> None:
    quick = {name for name, _, _ in select("all", enable_slow_metrics=False)}
    assert quick == EVERYTHING - {"eigenspectrum"}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("no:margni", r"metrics\[0\]: unknown metric 'margni'; did you mean 'margin'"),
        ({"name": "mutual_information", "snr": 0}, "option 'snr': expected a number above 0"),
        ({"name": "mutual_information", "snr": "4"}, "option 'snr': expected a number above 0"),
        ({"name": "mutual_information", "estimator": "knn"}, "expected one of noisy, pc1_binned"),
        ({"name": "mutual_information", "bins": 2.5}, "option 'bins': expected a whole number"),
        ({"name": "linear_cka", "debiased": 1}, "option 'debiased': expected true or false"),
        ({"name": "f1_score", "penalty": -1}, "option 'penalty': expected a number above 0"),
        (
            {"name": "gaussian_entropy_ema", "decay": 1},
            "decay: expected a number from 0 to below 1",
        ),
    ],
)
def test_a_wrong_selection_is_told_before_training(entry: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(entry)


def test_one_file_spelt_in_two_ways_is_once(write, tmp_path: Path) -> None:
    path = write("mine")
    other = tmp_path / ".." / tmp_path.name / "mine.py"
    only = Config(metrics=(Selection("margin", "margin"),))
    assert names(only, path, other) == ["margin", "mine"]


def test_tests_in_a_folder_of_plugins_are_no_plugins(write, tmp_path: Path) -> None:
    write("mine")
    write("test_mine", "1 / 0")
    assert "mine" in load_plugins(plugins_dir=tmp_path).registry.names("metric")


PLOT = """
from cmp_core import hookimpl, plot

@plot("mine", file="heatmap_{metric}_{phase}")
def mine(view):
    '''It.'''

@hookimpl
def cmp_register_plots(register):
    register(mine)
"""


def test_two_plots_that_write_one_file_are_told(write) -> None:
    plugins = load_plugins([str(write("mine", PLOT))], built_ins=("cmp_plots",))
    with pytest.raises(ConfigError, match="'heatmap' and 'mine' write files of one name"):
        select_plots(plugins)


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
