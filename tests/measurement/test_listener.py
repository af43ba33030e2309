from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from cmp_core import LayerView, UndefinedError, hookimpl, metric
from cmp_core.config.schema import Config
from cmp_core.errors import PluginError, UsageError
from cmp_core.events.activations import LayerActivations
from cmp_core.events.payloads import Run
from cmp_core.events.rows import Row, log_form
from cmp_core.measurement.measurer import SUBSET_SIZE, Measurer
from cmp_core.measurement.metric import definition_of
from cmp_core.plugins.loader import new_manager
from cmp_core.testing import example_event, measure_batch, measure_split, select
from cmp_core.testing.measure import measurer_of


@metric("ids")
def mean_id(view: LayerView) -> Tensor:
    """Mean sample id, of those that are seen at once."""
    return view.sample_ids.double().mean()


@metric("spectrum")
def spectrum(view: LayerView) -> Tensor:
    """Singular values, largest first."""
    return torch.linalg.svdvals(view.activations)


@metric("overlap", scope="pair")
def overlap(first: LayerView, second: LayerView) -> float:
    """Inner product of the layers' mean activations, summed over units."""
    return float(first.activations.mean() * second.activations.sum())


@metric("nothing", needs=("previous",), scope="consecutive")
def nothing(view: LayerView) -> float:
    """Never defined."""
    raise UndefinedError("there is nothing")


@metric("extremes", split="mean")
def extremes(view: LayerView, *, factor: float = 1.0) -> Mapping[str, Tensor]:
    """Largest and smallest unit."""
    return {"": factor * view.activations.amax(1), "low": factor * view.activations.amin(1)}


@metric("residual", passes=2)
class Residual:
    """Mean squared distance to the mean activation: fits first, then scores."""

    def __init__(self) -> None:
        self.total: Any = 0
        self.n = 0
        self.squares: Any = 0

    def update(self, view: LayerView) -> None:
        self.total = self.total + view.activations.double().sum(0)
        self.n += len(view.sample_ids)

    def fit(self) -> None:
        self.mean = self.total / self.n

    def score(self, view: LayerView) -> None:
        self.squares = self.squares + (view.activations - self.mean).square().sum()

    def compute(self) -> Tensor:
        return self.squares / self.n

    def merge(self, other: Residual) -> Residual:
        merged = Residual()
        merged.total, merged.n = self.total + other.total, self.n + other.n
        merged.squares = self.squares + other.squares
        return merged

    def state_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def measure(implementation: object, event: LayerActivations) -> list[Row]:
    return measure_batch(definition_of(implementation)(), event)


def in_chunks(
    implementation: object, event: LayerActivations, size: int = 64, order: Tensor | None = None
) -> list[Row]:
    return measure_split(definition_of(implementation)(), event, size, order)


def test_two_passes_over_a_split_equal_the_variance() -> None:
    event = example_event(n=200, part="chunk")
    for rows in (in_chunks(Residual, event), measure(Residual, event)):
        layers = {layer.name: layer for layer in event.all_layers}
        for row in rows:
            expected = layers[row.layer].activations.var(0, correction=0).sum().item()
            assert row.value == pytest.approx(expected, rel=1e-12)
            assert row.n == 200


def test_a_function_sees_a_split_whole_up_to_the_subset() -> None:
    small = in_chunks(mean_id, example_event(n=300, part="chunk"))
    assert [(row.value, row.n) for row in small] == [(149.5, 300)] * 3
    large = example_event(n=3 * SUBSET_SIZE, part="chunk")
    rows = in_chunks(mean_id, large)
    shuffled = in_chunks(mean_id, large, 999, torch.arange(large.n).flip(0))
    assert {row.n for row in rows} == {SUBSET_SIZE}
    assert rows == shuffled


def test_a_vector_is_a_tuple_and_a_list_in_the_log() -> None:
    rows = measure(spectrum, example_event(n=20, widths=(3,)))
    assert len(rows[0].value) == 3
    assert log_form(rows, ("layer_0",), 20)["vectors"]["layer_0"]["spectrum"] == list(rows[0].value)


def test_a_pair_metric_gives_the_value_with_the_previous_layer_and_a_matrix() -> None:
    event = example_event(part="chunk")
    first, second = (layer.activations for layer in event.layers)
    names = ("layer_0", "layer_1")
    forth, back = float(first.mean() * second.sum()), float(second.mean() * first.sum())
    for rows in (measure(overlap, event), in_chunks(overlap, event)):
        form = log_form(rows, names, event.n)
        assert form["metrics"] == {"layer_1": {"overlap": pytest.approx(forth)}}
        assert form["missing"] == {"layer_0": {"overlap": "layer_0 is the first layer"}}
    assert form["pairs"]["overlap"][0][1] == pytest.approx(forth)
    assert form["pairs"]["overlap"][1][0] == pytest.approx(back)


def test_an_undefined_value_gives_its_reason() -> None:
    reasons = {row.layer: row.reason for row in in_chunks(nothing, example_event(part="chunk"))}
    assert reasons == {
        "input": "the input is a reference and has no neighbours",
        "layer_0": "layer_0 is the first layer",
        "layer_1": "there is nothing",
    }


def test_what_a_layer_lacks_is_the_reason() -> None:
    @metric("needy", needs=("anchors",))
    def needy(view: LayerView) -> float:
        """Never called."""
        raise AssertionError

    event = example_event()
    bare = tuple(attrs.evolve(layer, anchors=None) for layer in event.layers)
    rows = measure(needy, attrs.evolve(event, layers=bare))
    assert [row.reason for row in rows] == ["layer_0 has no anchors", "layer_1 has no anchors"]


def test_sub_values_take_the_label() -> None:
    names = [row.metric for row in measure(extremes, example_event(widths=(4,)))]
    assert names == ["extremes", "extremes_low"]


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown option 'facter'; did you mean 'factor'"):
        definition_of(extremes)(facter=2)


def test_samples_without_a_value_are_left_out_of_the_mean_and_of_n() -> None:
    @metric("logarithm", split="mean")
    def logarithm(view: LayerView) -> Tensor:
        """Defined for some samples."""
        return torch.where(view.sample_ids < 30, view.sample_ids.double(), torch.nan)

    event = example_event(n=100, widths=(4,), part="chunk")
    for rows in (measure(logarithm, event), in_chunks(logarithm, event)):
        assert {(row.value, row.n) for row in rows} == {(14.5, 30)}


def test_a_per_sample_metric_must_return_one_value_per_sample() -> None:
    @metric("wrong", split="mean")
    def wrong(view: LayerView) -> Tensor:
        """Returns the mean."""
        return view.activations.mean()

    with pytest.raises(Exception, match=r"expected one value per sample, shape \(50,\), got \(\)"):
        measure(wrong, example_event())


def test_log_form_keeps_reference_and_reasons_apart() -> None:
    rows = [
        Row("input", "a", 0.5, 4),
        Row("layer_0", "a", 0.25, 4),
        Row("layer_0", "b", None, 4, "no reason at all"),
        Row("layer_0", "c", None, 4, "broken", other="head", pair=True),
    ]
    assert log_form(rows, ("layer_0", "head"), n=5, prefix="train_") == {
        "train_n": 5,
        "train_counts": {"input": {"a": 4}, "layer_0": {"a": 4}},
        "train_metrics": {"layer_0": {"a": 0.25}},
        "train_reference": {"a": 0.5},
        "train_missing": {"layer_0": {"b": "no reason at all", "c:head": "broken"}},
    }


@pytest.mark.parametrize("value", ["a text", None, torch.zeros(2, 2), {"x": [1]}, {}])
def test_a_value_that_cannot_be_logged_is_the_metric_s_own_error(value: Any) -> None:
    @metric("odd")
    def odd(view: LayerView) -> Any:
        """Returns what it should not."""
        return value

    with pytest.raises(PluginError, match=r"expected a number, a 0-d tensor|empty mapping"):
        measure(odd, example_event())


@pytest.mark.parametrize("value", [np.float32(2.5), np.int64(2), 2, torch.tensor(2.5)])
def test_any_kind_of_number_is_a_value(value: Any) -> None:
    @metric("number")
    def number(view: LayerView) -> Any:
        """A number."""
        return value

    assert {row.value for row in measure(number, example_event())} == {float(value)}


WRITES = {
    "anchors of the subset": lambda event: [x.anchors.zero_() for x in event.layers],
    "a statistic": lambda event: event.statistics["layer_0"].log_q.fill_(torch.nan),
    "activations of the subset": lambda event: event.layers[0].activations.fill_(7.0),
}


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("hook", ["cmp_layer_activations", "cmp_split_finished"])
def test_a_plugin_that_writes_changes_no_number_of_a_metric(what: str, hook: str) -> None:
    @metric("sums")
    def sums(view: LayerView) -> Mapping[str, Tensor]:
        """Depends on everything, and gives out a view of the activations."""
        return {"": view.anchors.sum() + view.activations.sum(), "row": view.activations[0]}

    class Writer:
        @hookimpl
        def cmp_layer_activations(self, event: Any) -> None:
            if hook == "cmp_layer_activations":
                WRITES[what](event)

        @hookimpl
        def cmp_split_finished(self, event: Any) -> None:
            if hook == "cmp_split_finished":
                WRITES[what](event.subset)

    def values(*plugins: object) -> list[Row]:
        subject = measurer_of(definition_of(sums)(), *plugins, policy="disable")
        event = example_event(part="chunk")
        parts = [select(event.copy(), where) for where in torch.arange(50).split(20)]
        return [
            row
            for row in subject.split(
                event.sample_ids.numpy(), event.labels.numpy(), lambda _: parts
            )
            if row.layer != "input"
        ]

    assert values(Writer()) == values()


def test_a_value_does_not_stand_in_the_place_of_another() -> None:
    @metric("two", split="mean")
    def two(view: LayerView) -> Mapping[str, Tensor]:
        """Two values."""
        ones = torch.ones(len(view.sample_ids))
        return {"": ones, "low": ones}

    metrics = [definition_of(two)(), definition_of(mean_id)(label="two_low")]
    subject = Measurer(metrics, Run(Config(), (), ()), new_manager())
    with pytest.raises(UsageError, match="two metrics yield 'two_low' at layer_0"):
        subject.batch(example_event())


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"scope": "pairs"}, "unknown scope 'pairs'; did you mean 'pair'"),
        ({"question": "foo"}, "unknown question 'foo'"),
        ({"bounds": (1, 0)}, "bounds: expected"),
        ({"bounds": 1}, "bounds: expected"),
        ({"needs": "scores"}, r"needs: expected a tuple of paths, such as \('scores',\)"),
        ({"invariances": "scale"}, "invariances: expected a set"),
        ({"passes": 3}, "passes: expected 1 or 2"),
        ({"scope": "consecutive"}, "needs must name a neighbour"),
        ({"invariances": {"symmetric"}}, "is for metrics of scope pair"),
        ({"needs": ("scroes",)}, "unknown need 'scroes'; did you mean 'scores'"),
        ({"needs": ("nxt.scores",)}, "unknown need 'nxt.scores'"),
        ({"invariances": {"rotation"}}, "unknown invariance 'rotation'"),
        ({"passes": 2}, "passes=2 needs a class"),
        ({"needs": ("statistics.eigenvalue",)}, "unknown need 'eigenvalue'; did you mean"),
        ({"split": "men"}, "unknown split 'men'; did you mean 'mean'"),
        ({"split": "mean", "needs": ("statistics.variance",)}, "declare split='moments'"),
        (
            {"split": "mean", "needs": ("statistics.mean_log_kernel_density",)},
            "declare split='subset'",
        ),
        ({"needs": ("statistics.variance",)}, r"declare split='moments' \(exact\) or 'subset'"),
        ({"needs": ("next.statistics.held_out_scores",)}, "declare split='mean'"),
        ({"split": "moments"}, "needs must name them"),
        ({"split": "moments", "needs": ("labels", "statistics.variance")}, "sees no samples"),
        ({"split": "moments", "needs": ("statistics.log_q", "statistics.hsic")}, "sees no samples"),
        ({"scope": "pair", "split": "mean"}, "scope pair is for functions of two views"),
        ({"split": "running"}, "does not fit a function: declare 'mean', 'moments' or 'subset'"),
        ({"split": "state"}, "does not fit a function"),
    ],
)
def test_a_contradictory_declaration_is_refused(traits: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        metric("wrong", **traits)(lambda view: 0.0)


def test_a_class_must_have_the_methods_of_a_state() -> None:
    class Half:
        def update(self, view: LayerView) -> None: ...

    with pytest.raises(UsageError, match="lacks the methods merge, compute, state_dict"):
        metric("half")(Half)
    with pytest.raises(UsageError, match="does not fit a class: declare 'state' or 'running'"):
        metric("half", split="mean")(Half)


def test_options_without_a_default_must_be_given() -> None:
    @metric("needs_k")
    def needs_k(view: LayerView, *, k: int) -> float:
        """Has an option without a default."""
        return float(k)

    with pytest.raises(UsageError, match="option 'k' has no default; give it"):
        definition_of(needs_k)()
    assert definition_of(needs_k)(k=3).options == {"k": 3}


@metric("parts")
def parts(view):
    """One number, and one that is not there."""
    return {"": view.activations.mean(), "lacking": UndefinedError("there is no such thing")}


def test_one_of_several_values_may_be_missing_for_a_reason_of_its_own() -> None:
    for rows in (
        measure_batch(definition_of(parts)(), example_event()),
        measure_split(definition_of(parts)(), example_event(part="chunk")),
    ):
        missing = {row.layer: row.reason for row in rows if row.metric == "parts_lacking"}
        assert set(missing.values()) == {"there is no such thing"}
        assert all(row.value is not None for row in rows if row.metric == "parts")
