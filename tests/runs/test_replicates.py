"""What counts as a replicate, and what groups and runs are called."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cmp_core import load_run
from cmp_core.errors import UsageError
from cmp_core.measurement.selection import with_installed_metric_info
from cmp_core.runs.metric_info import MetricInfo, dump_metric_info
from cmp_core.runs.record import RunRecord
from cmp_core.runs.replicates import RunSet
from tests.synthetic_runs import write_old_run

WriteRun = Callable[..., RunRecord]


@pytest.fixture
def write(tmp_path: Path) -> WriteRun:
    """A function that writes a run directory of a configuration and reads it back."""
    numbers = count()

    def write_run(
        *,
        folder: str | None = None,
        params: str | None = None,
        layers: Sequence[str] = ("layer_0",),
        metrics: Sequence[str] = ("margin",),
        facts: Sequence[MetricInfo] = (),
        **config: Any,
    ) -> RunRecord:
        path = tmp_path / (folder or f"run_{next(numbers)}")
        path.mkdir(parents=True)
        (path / "params.yaml").write_text(json.dumps(config) if params is None else params)
        values = {layer: dict.fromkeys(metrics, 0.5) for layer in layers}
        line = {"phase": "val", "epoch": 1, "acc": 0.5, "val_loss": 1, "metrics": values}
        (path / "log.jsonl").write_text(json.dumps(line) + "\n")
        (path / "metrics.json").write_text(dump_metric_info(facts))
        return load_run(path)

    return write_run


def groups(*runs: RunRecord) -> list[tuple[str, list[int]]]:
    """The label of each group, and which of the runs are in it."""
    place = {id(run): i for i, run in enumerate(runs)}
    return [(g.label, [place[id(run)] for run in g.runs]) for g in RunSet(runs).groups]


# Groups


def test_runs_that_differ_by_seed_and_places_alone_are_replicates(write: WriteRun) -> None:
    places = {
        "out": "elsewhere",
        "data_dir": "/data",
        "device": "cuda",
        "num_workers": 4,
        "amp": "bf16",
        "metrics": ["margin"],
        "plots": "all",
        "plugins": ["mine.py"],
        "snapshots": {"phase": "test"},
        "metrics_frequency": "epoch",
        "checkpoint_every": 5,
    }
    runs = [
        write(model="greedy", N=24, seed=0),
        write(seed=1, N=24, model="greedy"),
        write(model="greedy", N=24, seed=0, **places),
    ]
    assert groups(*runs) == [("greedy", [0, 1, 2])]


def test_any_other_key_makes_another_experiment(write: WriteRun) -> None:
    for key, value in (("N", 48), ("lr", 0.1), ("dataset", "mnist"), ("unheard_of", True)):
        first, second = (
            write(model="greedy", N=24),
            write(**{"model": "greedy", "N": 24, key: value}),
        )
        assert len(RunSet((first, second)).groups) == 2


def test_groups_stand_in_the_order_of_their_first_runs(write: WriteRun) -> None:
    runs = [write(model=model, seed=seed) for seed in (0, 1) for model in ("mlp", "greedy")]
    assert groups(*runs) == [("mlp", [0, 2]), ("greedy", [1, 3])]
    assert [group.model for group in RunSet(tuple(runs)).groups] == ["mlp", "greedy"]


def test_labels_are_the_keys_in_which_groups_differ(write: WriteRun) -> None:
    runs = [write(model="greedy", N=n, lr=0.1, seed=0) for n in (24, 48)]
    assert groups(*runs) == [("greedy N=24", [0]), ("greedy N=48", [1])]
    runs = [write(model="greedy", N=n, lr=lr) for n in (24, 48) for lr in (0.1, 0.2)]
    assert [label for label, _ in groups(*runs)] == [
        "greedy N=24 lr=0.1",
        "greedy N=24 lr=0.2",
        "greedy N=48 lr=0.1",
        "greedy N=48 lr=0.2",
    ]


def test_what_differs_between_models_alone_is_not_told(write: WriteRun) -> None:
    runs = [
        write(model="greedy", tau=1.0, N=24),
        write(model="greedy", tau=1.0, N=48),
        write(model="mlp", tau=0.5, N=24),
    ]
    assert [label for label, _ in groups(*runs)] == ["greedy N=24", "greedy N=48", "mlp"]


def test_a_key_of_one_run_is_none_in_the_other(write: WriteRun) -> None:
    runs = [write(model="mlp"), write(model="mlp", anchors="means")]
    assert [label for label, _ in groups(*runs)] == ["mlp anchors=None", "mlp anchors=means"]


def test_a_key_that_is_null_is_one_that_is_not_there(write: WriteRun) -> None:
    runs = [write(model="mlp", seed=0), write(model="mlp", seed=1, learning_rule=None)]
    assert groups(*runs) == [("mlp", [0, 1])]


def test_a_run_without_a_configuration_is_an_experiment(write: WriteRun) -> None:
    assert groups(write(params=""), write(params="")) == [("?", [0, 1])]


@pytest.mark.parametrize(
    "params",
    [
        "1: a\nmodel: mlp\nnull: 2",
        "? [a, b]\n: c\nmodel: mlp",
        "model: mlp\na: {? [1, 2] : {3: x, y: z}}",
        "model: mlp\nwhen: 2026-11-23 10:15:00",
        "model: mlp\nnumbers: [.nan, .inf]",
    ],
)
def test_configurations_of_all_that_yaml_can_hold_are_told_apart(
    write: WriteRun, params: str
) -> None:
    runs = (write(params=params), write(params=f"{params}\nN: 3"), write(model="greedy"))
    found = RunSet(runs)
    assert [group.label for group in found.groups] == ["mlp N=None", "mlp N=3", "greedy"]
    assert len(set(found.names)) == 3


def test_models_need_not_be_texts(write: WriteRun) -> None:
    runs = write(model=["a", "b"], layers=["layer_0"]), write(model=None)
    assert [label for label, _ in groups(*runs)] == ["['a', 'b']", "None"]


# Given labels


def test_given_labels_make_the_groups(write: WriteRun) -> None:
    runs = (write(model="mlp"), write(model="greedy"), write(model="mlp", N=3))
    found = RunSet(runs, ("a", "b", "a")).groups
    assert [(group.label, group.runs) for group in found] == [
        ("a", (runs[0], runs[2])),
        ("b", (runs[1],)),
    ]


def test_labels_part_what_would_be_replicates(write: WriteRun) -> None:
    runs = (write(model="mlp", seed=0), write(model="mlp", seed=1))
    assert [group.label for group in RunSet(runs, ("old", "new")).groups] == ["old", "new"]


def test_there_must_be_a_label_for_each_run(write: WriteRun) -> None:
    runs = (write(model="mlp"), write(model="mlp"))
    rule = "^labels: expected a label for each of the 2 runs, got 1$"
    with pytest.raises(UsageError, match=rule):
        RunSet(runs, ("a",))


# Names


def test_a_run_alone_in_its_group_is_named_by_it(write: WriteRun) -> None:
    runs = (write(model="mlp", seed=3), write(model="greedy", seed=3))
    assert RunSet(runs).names == ("mlp", "greedy")


def test_replicates_are_named_by_their_seeds(write: WriteRun) -> None:
    runs = (write(model="mlp", seed=3), write(model="greedy"), write(model="mlp", seed=4))
    assert RunSet(runs).names == ("mlp · seed 3", "greedy", "mlp · seed 4")


def test_runs_of_one_seed_are_named_by_their_folders(write: WriteRun) -> None:
    runs = tuple(write(model="mlp", seed=seed, folder=f"{i}") for i, seed in enumerate((3, 3, 4)))
    assert RunSet(runs).names == ("mlp · seed 3 · 0", "mlp · seed 3 · 1", "mlp · seed 4")


def test_folders_of_one_name_are_told_by_where_they_are(write: WriteRun) -> None:
    folders = ("a/0001", "b/0001", "a/0002", "c/0003")
    runs = tuple(write(model="mlp", folder=folder) for folder in folders)
    names = RunSet(runs).names
    assert names == (
        f"mlp · seed None · {runs[0].directory}",
        f"mlp · seed None · {runs[1].directory}",
        "mlp · seed None · 0002",
        "mlp · seed None · 0003",
    )


# Layers and metrics of all


def test_layers_are_those_of_the_deepest_run_then_others(write: WriteRun) -> None:
    shallow = write(layers=["layer_0", "layer_1", "head"])
    deep = write(layers=[f"layer_{i}" for i in range(12)])
    other = write(layers=["layer_1", "block"])
    for runs in ((shallow, deep, other), (other, deep, shallow)):
        layers = RunSet(runs).layers
        assert layers[:12] == tuple(f"layer_{i}" for i in range(12))
        assert layers[12:] == ("block", "head")


def test_layers_of_runs_without_any_are_none(write: WriteRun) -> None:
    assert RunSet((write(layers=[]), write(layers=[]))).layers == ()
    assert RunSet((write(layers=[]), write(layers=["layer_0"]))).layers == ("layer_0",)


def test_headlines_and_metrics_are_those_of_any_run(write: WriteRun) -> None:
    ace = MetricInfo("ace", "ace_regularizer")
    runs = (
        write(metrics=["margin", "ace", "ace_js"], facts=[ace]),
        write(metrics=["rank", "margin"]),
    )
    assert RunSet(runs).metrics == ("margin", "ace", "ace_js", "rank")
    assert RunSet(runs).headlines == ("margin", "ace", "rank")


# Scales


def test_groups_share_a_scale_if_the_metric_has_one_or_their_models_are_of_one_kind(
    write: WriteRun,
) -> None:
    facts = [MetricInfo("margin", "margin"), MetricInfo("acc", "accuracy", comparable=True)]
    configs = (("mlp", 1, 0.1), ("greedy", 1, 0.1), ("mlp", 1, 0.2), ("mlp", 2, 0.1))
    runs = [
        write(facts=facts, metrics=("margin", "acc"), model=model, tau=tau, lr=lr)
        for model, tau, lr in configs
    ]
    every = RunSet(tuple(runs))
    first, greedy, faster, cooler = every.groups
    assert every.on_one_scale("acc") == (every.groups,)
    assert every.on_one_scale("margin") == ((first, faster), (greedy,), (cooler,))
    of_one_kind = RunSet((runs[0], runs[2]))
    assert of_one_kind.on_one_scale("margin") == (of_one_kind.groups,)


def test_what_another_program_has_logged_is_on_a_scale_of_its_own(
    write: WriteRun, tmp_path: Path
) -> None:
    facts = [MetricInfo("probe_accuracy", "probe_accuracy", comparable=True)]
    metrics = ("probe_accuracy", "house_metric")
    new = write(facts=facts, metrics=metrics, model="mlp", dataset="mnist")
    old, again, other = (
        with_installed_metric_info(load_run(write_old_run(tmp_path, name=name, **config)))
        for name, config in (("a", {}), ("b", {"seed": 1}), ("c", {"model": "greedy"}))
    )
    found = RunSet((old, new, again, other))
    first, own, last = found.groups
    assert [group.runs for group in found.groups] == [(old, again), (new,), (other,)]
    assert found.on_one_scale("probe_accuracy") == ((first, last), (own,))
    assert found.on_one_scale("house_metric") == found.of_one_kind == ((first,), (own,), (last,))
    # A metric that the other run has not does not part it from those that have.
    assert found.on_one_scale("participation_ratio") == (found.groups,)
    assert "of mlp (other program), greedy (other program): " in str(found.note_on_origin)
    assert RunSet((new,)).note_on_origin is None


def test_a_label_is_not_of_runs_of_two_programs(write: WriteRun, tmp_path: Path) -> None:
    old, new = load_run(write_old_run(tmp_path)), write(model="mlp")
    with pytest.raises(UsageError, match=r"labels: 'a' stands for .* another program has logged"):
        RunSet((old, new), ("a", "a"))


def test_spellings_of_a_dataset_are_one(write: WriteRun) -> None:
    names = ("fashion_mnist", "fashion-mnist", "mnist")
    assert RunSet(tuple(write(dataset=name) for name in names)).datasets == (
        "fashion_mnist",
        "mnist",
    )


def test_files_go_into_the_only_run_or_the_current_folder(
    write: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = write(seed=0), write(seed=1)
    assert RunSet((one,)).folder == one.directory
    assert RunSet((one, two)).folder == tmp_path


def test_a_run_prints_shortly(write: WriteRun) -> None:
    run = write(seed=0)
    assert repr(run) == f"<Run {run.name}: ? on ?, seed 0>"
