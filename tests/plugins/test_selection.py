"""Tests of `cmp_core.plugins.selection`: which metrics and plots a configuration means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cmp_core.config.load import build_config
from cmp_core.config.schema import Config, Selection
from cmp_core.errors import ConfigError, UsageError
from cmp_core.measurement.selection import select_metrics
from cmp_core.plotting.plot import select_plots
from cmp_core.plugins.loader import load_plugins
from tests.plugins.metric_files import METRIC, names


def test_a_file_named_with_p_is_loaded_and_its_metrics_selected(write: Callable[..., Path]) -> None:
    path = write("mine")
    assert "mine" in names(Config(), path)
    only = Config(metrics=(Selection("margin", "margin"),))
    assert names(only, path) == ["margin", "mine"]


def test_one_metric_twice_with_different_options(write: Callable[..., Path]) -> None:
    config = Config(metrics=(Selection("mine", "one"), Selection("mine", "two", {"power": 2})))
    metrics = select_metrics(load_plugins([str(write("mine"))]), config)
    assert [(m.label, dict(m.options)) for m in metrics] == [("one", {}), ("two", {"power": 2})]


def test_slow_metrics_can_be_dropped(write: Callable[..., Path]) -> None:
    path = write("slow", METRIC.format(name="slow").replace('("slow")', '("slow", slow=True)'))
    assert "slow" in names(Config(), path)
    assert "slow" not in names(Config(enable_slow_metrics=False), path)


def test_the_same_plugin_twice_is_once(write: Callable[..., Path]) -> None:
    path = write("mine")
    assert names(Config(), path, path).count("mine") == 1


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        names(Config(metrics=(Selection("acuracy", "acuracy"),)))


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


def test_one_file_spelt_in_two_ways_is_once(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("mine")
    other = tmp_path / ".." / tmp_path.name / "mine.py"
    only = Config(metrics=(Selection("margin", "margin"),))
    assert names(only, path, other) == ["margin", "mine"]


PLOT = """
from cmp_core import hookimpl, plot

@plot("mine", file="heatmap_{metric}_{phase}")
def mine(view):
    '''It.'''

@hookimpl
def cmp_register_plots(register):
    register(mine)
"""


def test_two_plots_that_write_one_file_are_told(write: Callable[..., Path]) -> None:
    plugins = load_plugins([str(write("mine", PLOT))], built_ins=("cmp_plots",))
    with pytest.raises(ConfigError, match="'heatmap' and 'mine' write files of one name"):
        select_plots(plugins)


def plots(asked: object) -> set[str]:
    config = build_config({} if asked is None else {"plots": asked})
    return {plot.label for plot in select_plots(load_plugins(), config.plots)}


def test_without_a_word_the_standard_plots_are_selected() -> None:
    every, standard = plots("all"), plots("standard")
    assert {"confusion", "research_questions", "training_curves"} < standard < every
    assert plots(None) == standard
    assert plots(["standard", "heatmap"]) == {*standard, "heatmap"}
    assert (
        plots(["no:confusion"]) == plots(["standard", "no:confusion"]) == standard - {"confusion"}
    )
    assert plots(["all", "no:confusion"]) == every - {"confusion"}
    assert plots([]) == set()


def test_of_metrics_none_are_standard() -> None:
    with pytest.raises(ConfigError, match="metrics: expected a list, got 'standard'"):
        build_config({"metrics": "standard"})
