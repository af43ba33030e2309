"""Tests of `cmp_core.observation.observer`: loops of one's own, and the runs that they leave."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cmp_core import Row, load_run, measure, measure_arrays, metric, observe, open_snapshot
from cmp_core.analysis.questions import answer
from cmp_core.errors import UsageError
from cmp_core.measurement.recompute import recompute
from cmp_core.observation.observer import Observer
from tests.cli.calls import call
from tests.observation.models import Net, Tokens, hooks_on, loader, samples

QUICK = ["accuracy", "participation_ratio", "linear_cka", "probe_accuracy"]
LAYERS = ["first", "second", "logits"]


def train(model: nn.Module, watch: Observer | None, epochs: int = 2) -> list[tuple[Row, ...]]:
    """Train by a plain loop; return the rows of each step."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.manual_seed(1)
    rows = []
    for _ in range(epochs):
        for x, y in loader(seed=1, shuffle=True):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if watch is not None:
                rows.append(watch.step(labels=y, loss=loss))
        if watch is not None:
            watch.evaluate(loader())
    return rows


def values(rows: tuple[Row, ...], name: str) -> dict[str, Any]:
    return {
        row.layer: row.value
        for row in rows
        if row.metric == name and not row.pair and row.value is not None
    }


def test_a_split_has_the_values_of_its_activations() -> None:
    model, (x, y) = Net().eval(), samples()
    with torch.no_grad():
        first = model.first(x)
        second = model.second(first.relu())
        logits = model(x)
    names = ["participation_ratio", "linear_cka", "probe_accuracy", "within_class_variance"]
    expected = measure_arrays({"first": first, "second": second, "logits": logits}, y, names)
    with observe(model, LAYERS, names) as watch:
        found = watch.evaluate(loader(), "test")
    for name in names:
        own = values(found, name)
        own.pop("input", None)
        assert own == pytest.approx(values(expected, name), rel=1e-6)
        assert len(own) >= 2


def test_layers_are_scored_against_the_class_means_of_fitting_samples() -> None:
    model = Net().eval()
    with observe(model, LAYERS, ["accuracy"], fit=loader(90, 30, seed=3, shuffle=True)) as watch:
        found = values(watch.evaluate(loader()), "accuracy")
    (x, y), (fit, fit_y) = samples(), samples(90, seed=3)
    with torch.no_grad():
        layers = {"input": (x, fit), "first": (model.first(x), model.first(fit))}
    for name, (own, of_fit) in layers.items():
        expected = nearest_mean(own, of_fit, fit_y)
        assert found[name] == pytest.approx((expected == y.numpy()).mean())
    assert found["logits"] == pytest.approx(float((model(x).argmax(1) == y).float().mean()))


def nearest_mean(x: torch.Tensor, fit: torch.Tensor, fit_y: torch.Tensor) -> Any:
    """The class whose mean a sample has the largest cosine with."""
    means = np.stack([fit.numpy()[fit_y == c].mean(0) for c in range(3)])
    return (x.numpy() @ means.T / np.linalg.norm(means, axis=1)).argmax(1)


def test_class_means_are_those_of_the_weights_of_the_time() -> None:
    torch.manual_seed(0)
    model, (x, y), (fit, fit_y) = Net(), samples(), samples(90, seed=3)
    with observe(model, LAYERS, ["accuracy"], every=1, fit=loader(90, 30, seed=3)) as watch:
        watch.evaluate(loader())
        train(model, None, epochs=6)
        before = watch.subject.means
        assert before is not None
        old = before.state_dict()["first"]
        model(x)
        watch.step(labels=y)
        with torch.no_grad():
            of_batch = torch.stack([model.first(x)[y == c].mean(0) for c in range(3)])
        followed = before.state_dict()["first"]
        assert torch.allclose(followed, 0.9 * old + 0.1 * of_batch, atol=1e-6)
        found = values(watch.evaluate(loader()), "accuracy")
    with torch.no_grad():
        expected = nearest_mean(model.first(x), model.first(fit), fit_y)
    assert found["first"] == pytest.approx((expected == y.numpy()).mean())


def test_probes_are_fitted_to_the_fitting_samples() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    with observe(model, LAYERS, ["probe_accuracy"], fit=loader(300, 50, seed=3)) as watch:
        rows = watch.evaluate(loader(), "test")
    fitted = [row for row in rows if row.fit is not None]
    assert {row.fit.n for row in fitted if row.fit is not None} == {300}
    (x, y), (fit, fit_y) = samples(), samples(300, seed=3)
    with torch.no_grad():
        own, of_fit = (model.second(model.first(z).relu()).double() for z in (x, fit))
    design = torch.cat([of_fit, torch.ones(300, 1)], 1)
    weights = torch.linalg.lstsq(design, nn.functional.one_hot(fit_y).double()).solution
    right = (torch.cat([own, torch.ones(60, 1)], 1) @ weights).argmax(1) == y
    assert values(rows, "probe_accuracy")["second"] == pytest.approx(right.double().mean().item())


def test_steps_are_measured_at_the_cadence_and_hooks_are_there_only_then() -> None:
    model = Net()
    seen = []
    with observe(model, LAYERS, ["participation_ratio"], every=3) as watch:
        for x, y in [*loader(), *loader()]:
            seen.append(hooks_on(model) > 0)
            model(x)
            rows = watch.step(labels=y)
            assert bool(rows) == seen[-1]
    assert seen == [True, False, True, False, False, True]  # the first tells what the layers are
    assert hooks_on(model) == 0


@pytest.mark.parametrize("is_measured_before", [True, False])
def test_being_observed_changes_nothing(tmp_path: Path, is_measured_before: bool) -> None:
    """Dropout included: the weights are those of a loop without an observer, bit for bit."""
    results = []
    for is_observed in (False, True):
        torch.manual_seed(0)
        model = Net()
        watch = None
        if is_observed:
            watch = observe(model, LAYERS, every=1, out=tmp_path / "run", fit=loader(seed=5))
            if is_measured_before:
                watch.evaluate(loader())
        train(model, watch)
        if watch is not None:
            watch.close()
        results.append([p.detach().clone() for p in model.parameters()])
        assert model.training
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a loop of one's own, with a test before and after."""
    folder = tmp_path_factory.mktemp("observed") / "run"
    torch.manual_seed(0)
    model = Net()
    config = {"dataset": "toy", "seed": 3, "lr": 0.1}
    with observe(model, LAYERS, QUICK, every=2, out=folder, fit=loader(seed=5), config=config) as w:
        w.evaluate(loader())
        w.evaluate(loader(seed=9), "test")
        train(model, w)
        w.evaluate(loader(seed=9), "test")
    return folder


def test_a_run_is_read_like_any_other(run: Path) -> None:
    found = load_run(run)
    assert found.problems == ()
    assert (found.model, found.dataset, found.seed) == ("Net", "toy", 3)
    assert found.layers == ("first", "second", "logits")
    assert (found.output, found.hidden_layers) == ("logits", ("first", "second"))
    assert found.log.validation.epochs.tolist() == [0, 1, 2]
    assert found.log.training.steps.tolist() == [2, 4, 6]
    assert found.status["state"] == "finished"
    assert found.tested_epoch == 2
    assert found.test_accuracies.keys() == {"first", "second", "logits"}
    assert found.influence("first", "accuracy") is not None
    predictive = answer([found], "predictive")
    (accuracy, *_) = predictive.evidence
    assert accuracy.places == ("first", "second")
    assert accuracy.before is not None
    assert np.isfinite(accuracy.effect.error)


def test_a_run_is_drawn_reported_and_compared(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = call("report", run, "--out", "page.html")
    assert (page.exit_code, page.stderr) == (0, "")
    assert "first" in Path("page.html").read_text()
    drawn = call("plot", "research_questions", run, "--out", "pictures")
    assert (drawn.exit_code, drawn.stderr) == (0, "")
    assert call("info", run).exit_code == 0
    for command in ("eval", "run --resume"):
        refused = call(*command.split(), run)
        assert refused.exit_code == 2
        assert "observed" in refused.stderr


def test_the_test_is_stored_and_measured_again(run: Path) -> None:
    files = sorted((run / "activations").iterdir())
    assert [file.name for file in files] == ["step_00000000.h5", "step_00000006.h5"]
    with open_snapshot(files[1]) as snapshot:
        assert snapshot.verify()
        assert (snapshot.phase, snapshot.output, snapshot.dataset) == ("test", "logits", "toy")
        assert snapshot.fit is not None
        assert snapshot.fit.sum() == 60
    (_, again) = recompute([run])
    assert again.error is None
    logged = load_run(run)
    for row in again.rows:
        if not row.pair and row.value is not None and row.layer != "input":
            found = logged.value("test", row.layer, row.metric)
            assert row.value == pytest.approx(found, rel=1e-12)
    assert {row.metric for row in again.rows} >= set(QUICK)


def test_snapshots_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    with observe(Net(), LAYERS, QUICK, out=tmp_path / "run", snapshots=False) as watch:
        watch.test(loader())
    assert not (tmp_path / "run" / "activations").exists()


def test_a_run_that_fails_says_so_and_leaves_no_hooks(tmp_path: Path) -> None:
    model = Net()

    def loop() -> None:
        with observe(model, LAYERS, QUICK, out=tmp_path) as watch:
            watch.evaluate(loader())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop()
    assert hooks_on(model) == 0
    status = json.loads((tmp_path / "status.json").read_text())
    assert (status["state"], status["error"]) == ("failed", "ZeroDivisionError: ")
    assert len(load_run(tmp_path).log.validation.epochs) == 1


def test_tokens_in_mappings_with_their_padding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Tokens()
    mask = torch.ones(30, 6)
    mask[::2, 4:] = 0
    batches = [
        {"input_ids": torch.randint(0, 20, (30, 6)), "attention_mask": mask, "labels": y}
        for y in (torch.arange(30) % 3, torch.arange(30) % 3)
    ]
    layers = ["encoder.layers.*", "head"]
    with observe(model, layers, QUICK, out=tmp_path / "run") as watch:
        rows = watch.test(batches)
    assert watch.subject.output == "head"
    names = ["encoder.layers.0", "encoder.layers.1", "head"]
    assert list(values(rows, "participation_ratio")) == names
    assert load_run(tmp_path / "run").hidden_layers == tuple(names[:2])


def test_samples_without_labels(tmp_path: Path) -> None:
    with observe(Net(), LAYERS, QUICK, out=tmp_path / "run") as watch:
        rows = watch.test([x for x, _ in loader()])
    assert all(np.isfinite(v) for v in values(rows, "participation_ratio").values())
    missing = {row.reason for row in rows if row.metric == "probe_accuracy"}
    assert "first has no labels" in missing
    found = load_run(tmp_path / "run")
    assert found.test_accuracies == {}
    assert found.influence("first", "participation_ratio") is not None


def test_a_metric_that_raises_costs_its_own_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @metric("broken", split="mean", needs=())
    def broken(view: Any) -> Any:
        raise ValueError("no")

    watch = observe(Net(), LAYERS, [broken, "participation_ratio"], out=tmp_path / "run")
    rows = watch.evaluate(loader())
    watch.close()
    assert "plugin metric:broken" in capsys.readouterr().err
    assert {row.reason for row in rows if row.metric == "broken"} == {"error: ValueError: no"}
    assert len(values(rows, "participation_ratio")) == 4


def test_two_observers_may_watch_one_model() -> None:
    model, (x, y) = Net().eval(), samples()
    with (
        observe(model, "first", QUICK, every=1) as one,
        observe(model, "second", QUICK, every=1) as b,
    ):
        model(x)
        assert {row.layer for row in one.step(labels=y)} == {"first"}
        assert {row.layer for row in b.step(labels=y)} == {"second"}
    assert hooks_on(model) == 0


def test_an_evaluation_between_a_pass_and_its_step_costs_neither() -> None:
    model, (x, y) = Net(), samples()
    with observe(model, LAYERS, ["participation_ratio"], every=1) as watch:
        expected = model.first(x).detach()
        model(x)
        watch.evaluate(loader(seed=4))
        found = values(watch.step(labels=y), "participation_ratio")
    (row,) = measure_arrays([expected], metrics="participation_ratio")
    assert found["first"] == pytest.approx(row.value)


def test_a_test_before_training_alone_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with observe(Net(), LAYERS, QUICK) as watch:
        watch.evaluate(loader(), "test")
    assert "of a finished model call test(loader)" in capsys.readouterr().err


def test_wrong_use_is_told(tmp_path: Path) -> None:
    model, (x, y) = Net(), samples()
    watch = observe(model, LAYERS, QUICK, every=1, out=tmp_path / "run")
    with pytest.raises(UsageError, match="the model was not run since the last step"):
        watch.step(labels=y)
    model(x)
    with pytest.raises(UsageError, match="expected labels of 60 samples, got 7"):
        watch.step(labels=y[:7])
    with pytest.raises(UsageError, match="phase: expected val or test, got 'train'"):
        watch.evaluate(loader(), "train")
    with pytest.raises(UsageError, match="another order"):
        watch.evaluate(loader(shuffle=True))
    watch.close()
    watch.close()
    (tmp_path / "something").touch()
    for use in (lambda: watch.step(labels=y), lambda: watch.evaluate(loader())):
        with pytest.raises(UsageError, match="the observer is closed"):
            use()
    for options, message in (
        ({"layers": "nothing"}, "unknown module 'nothing'"),
        ({"metrics": ["acuracy"]}, "did you mean 'accuracy'"),
        ({"every": 0}, "every: expected a number of steps"),
        ({"reduce": "median"}, "expected one of mean"),
        ({"output": "last"}, "output: unknown layer 'last'"),
        ({"num_classes": 2, "class_names": ["a", "b", "c"]}, "num_classes is 2"),
        ({"out": tmp_path}, "is not empty"),
        ({"config": {"seed": "one"}}, "expected a whole number as seed"),
    ):
        with pytest.raises(UsageError, match=message):
            observe(model, **{"layers": LAYERS, "metrics": QUICK} | options)
    assert hooks_on(model) == 0


def test_a_run_that_never_ran_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), observe(Net(), LAYERS, out=tmp_path / "run"):
        raise ZeroDivisionError
    assert not (tmp_path / "run").exists()


def test_labels_of_a_later_batch_may_be_of_classes_that_none_had_before() -> None:
    """Without an output nothing tells how many classes there are."""
    model, (x, y) = Net(), samples()
    with observe(model, ["first", "second"], QUICK, every=1) as watch:
        for top in (0, 2, 1, 7):
            model(x)
            rows = watch.step(labels=y.clamp(max=top) + (top == 7))
            known = values(rows, "probe_accuracy")
            assert set(known) == (set() if top == 0 else {"first", "second"})
        watch.evaluate([(x, y + 20)])


def test_labels_in_a_column_are_labels() -> None:
    model, (x, y) = Net().eval(), samples()
    with observe(model, LAYERS, QUICK, every=1) as watch:
        expected = watch.evaluate([(x, y)])
        assert watch.evaluate([(x, y[:, None])]) == expected
        model(x)
        assert values(watch.step(labels=y[:, None].numpy()), "probe_accuracy")


def test_an_evaluation_by_one_observer_is_nothing_to_another() -> None:
    model, (x, y) = Net().eval(), samples()
    with observe(model, LAYERS, QUICK, every=1) as one, observe(model, LAYERS, QUICK) as other:
        model(x)
        other.evaluate(loader(seed=3))
        rows = one.step(labels=y)
    with observe(model, LAYERS, QUICK, every=1) as alone:
        model(x)
        assert alone.step(labels=y) == rows


def test_a_model_observed_before_it_is_compiled_is_measured_at_each_step() -> None:
    model, (x, y) = Net().eval(), samples()
    watch = observe(model, LAYERS, ["participation_ratio"], every=2)
    compiled = torch.compile(model, backend="eager")
    counts = []
    for _ in range(5):
        with torch.no_grad():  # of whose absence torch warns where it breaks the graph
            compiled(x)
        counts.append(values(watch.step(labels=y), "participation_ratio"))
    watch.close()
    (expected,) = [values(watch_once(model, x, y), "participation_ratio")]
    assert counts == [expected, expected, {}, expected, {}]  # the first, and every second one
    assert hooks_on(model) == 0


def watch_once(model: nn.Module, x: Any, y: Any) -> tuple[Row, ...]:
    with observe(model, LAYERS, ["participation_ratio"], every=1) as watch:
        model(x)
        return watch.step(labels=y)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_measuring_in_inference_mode_gives_the_same(mode: Any) -> None:
    model, (x, y) = Net().eval(), samples()
    expected = measure(model, [(x, y)], LAYERS, QUICK, fit=[samples(seed=4)])
    with mode():
        inside = [(own.clone(), labels.clone()) for own, labels in ((x, y), samples(seed=4))]
        found = measure(model, inside[:1], LAYERS, QUICK, fit=inside[1:])
    assert found.equals(expected)
    assert found.attrs["output"] == "logits"


def test_what_is_observed_is_said_without_a_run_directory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure(Net(), loader(), ["first", "logits"], ["accuracy"], reduce={"first": "max"})
    told = "observing Net: first (max, 8 units), logits (mean, 3 units); output: logits"
    assert capsys.readouterr().out.splitlines() == [told]
    measure(Net(classes=40), loader(), ["first", "logits"], ["accuracy"])
    both = capsys.readouterr()
    assert "output: none" in both.out
    assert "has 40 units for 3 classes, and counts as a hidden layer" in " ".join(both.err.split())


def test_loaders_are_not_kept_for_ever() -> None:
    with observe(Net(), LAYERS, ["accuracy"]) as watch:
        made = [weakref.ref(own) for own in (loader() for _ in range(6)) if watch.evaluate(own)]
        gc.collect()
        assert sum(own() is not None for own in made) <= 4


def test_memory_does_not_grow_with_steps() -> None:
    import tracemalloc

    model, (x, y) = Net(), samples()
    with observe(model, LAYERS, ["participation_ratio", "linear_cka"], every=2) as watch:
        sizes = []
        tracemalloc.start()
        for i in range(300):
            model(x)
            watch.step(labels=y)
            if i in (100, 299):
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 200_000


def test_an_observer_tells_what_it_observes() -> None:
    with observe(Net(), LAYERS, QUICK) as watch:
        assert repr(watch) == "<Observer of Net: first, second, logits>"


def test_labels_that_the_model_is_given_are_those_of_the_step() -> None:
    class Given(Net):
        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
            return super().forward(x)

    model, (x, _) = Given().eval(), samples()
    right = model(x).argmax(1)
    with observe(model, LAYERS, ["accuracy"], every=1, output="logits") as watch:
        model(x, labels=right)
        assert values(watch.step(), "accuracy")["logits"] == 1
        model(x, labels=right)
        assert values(watch.step(labels=(right + 1) % 3), "accuracy")["logits"] == 0
        model(x)
        (told,) = [row for row in watch.step() if row.layer == "logits"]
        assert told.reason == "logits has no labels"


def test_which_step_is_measured_is_known_before() -> None:
    model, (x, y) = Net(), samples()
    due = []
    with observe(model, LAYERS, ["accuracy"], every=3) as watch:
        for _ in range(6):
            due.append(watch.is_due)
            model(x)
            assert bool(watch.step(labels=y)) == due[-1]
    assert due == [True, False, True, False, False, True]


@pytest.mark.parametrize(
    ("error", "state"),
    [(ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted"), (None, "finished")],
)
def test_what_ended_the_training_may_be_told_at_the_end(
    tmp_path: Path, error: BaseException | None, state: str
) -> None:
    model = Net()
    watch = observe(model, LAYERS, ["accuracy"], every=1, out=tmp_path / "run")
    model(samples()[0])
    watch.step()
    watch.close(error)
    assert hooks_on(model) == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == state


def test_to_make_an_observer_draws_nothing_from_the_generators() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    observe(nn.Sequential(nn.ReLU()), "0", ["accuracy"], fit=loader(shuffle=True)).close()
    assert torch.equal(torch.get_rng_state(), before)
