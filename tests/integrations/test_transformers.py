"""Tests of `cmp_core.integrations.transformers`, with the real library and tiny random models."""

from __future__ import annotations

import gc
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cmp_core.errors import DataError, UsageError
from tests.cli.calls import call
from tests.observation.models import hooks_on
from tests.oracles.metrics import participation_ratio

hf = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from cmp_core.integrations.transformers import CmpCallback  # noqa: E402

LAYERS = ["bert.encoder.layer.*", "classifier"]
FIRST, OUTPUT = "bert.encoder.layer.0", "classifier"
METRICS = ["accuracy", "participation_ratio", "linear_cka", "probe_accuracy"]


def texts(n: int = 48, seed: int = 0) -> list[dict[str, Any]]:
    """Eight tokens each, of which the first ones tell the class, and some are padding."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for i in range(n):
        tokens = torch.randint(5, 20, (8,), generator=draw)
        tokens[:2] = 20 + i % 3
        mask = torch.ones(8, dtype=torch.long)
        mask[8 - i % 4 :] = 0
        found.append({"input_ids": tokens, "attention_mask": mask, "labels": i % 3})
    return found


def tagged(n: int = 48, seed: int = 0) -> list[dict[str, Any]]:
    """The same, with a label for each token."""
    return [text | {"labels": text["input_ids"] % 3} for text in texts(n, seed)]


def model(kind: str = "BertForSequenceClassification") -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = hf.BertConfig(
        vocab_size=30, intermediate_size=32, max_position_embeddings=8, num_labels=3, **sizes
    )
    return getattr(hf, kind)(config)


def trainer(network: Any, data: Any = texts, kind: Any = None, **options: Any) -> Any:
    arguments = {
        "output_dir": "trainer",
        "use_cpu": True,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 16,
        "learning_rate": 1e-3,
        "eval_strategy": "epoch",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }
    made = hf.TrainingArguments(**(arguments | options))
    return (kind or hf.Trainer)(network, made, train_dataset=data(), eval_dataset=data(30, 1))


def observed(made: Any, **options: Any) -> None:
    """Train under a callback."""
    with CmpCallback(**({"layers": LAYERS, "metrics": METRICS} | options)) as callback:
        made.add_callback(callback)
        made.train()


def lines(folder: Path, phase: str) -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in every if line["phase"] == phase]


def state(folder: Path) -> str:
    return str(json.loads((folder / "status.json").read_text())["state"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A trained model, and its run directory."""
    folder = tmp_path_factory.mktemp("transformers")
    network = model()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = trainer(network)
        test = made.get_test_dataloader(texts(30, 2))
        observed(made, test=test, every=4, out=folder / "run", config={"seed": 0})
    return network, folder / "run"


def test_the_weights_are_those_of_a_training_without(trained: tuple[Any, Path]) -> None:
    plain = model()
    trainer(plain).train()
    own = trained[0].state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    assert hooks_on(trained[0]) == 0


def test_the_log_has_measured_steps_and_evaluations(trained: tuple[Any, Path]) -> None:
    out = trained[1]
    steps = lines(out, "train")
    told = [(line["epoch"], line["step"], line["n"]) for line in steps]
    assert told == [(1, 4, 8), (2, 8, 8), (2, 12, 8)]
    assert [line["epoch"] for line in lines(out, "val")] == [1, 2]
    for line in steps:  # labels are those that the model was given
        assert line["acc"] == line["metrics"][OUTPUT]["accuracy"]
        assert line["loss"] is None
    assert state(out) == "finished"


def test_the_test_has_the_values_of_the_trained_and_of_the_untrained_network(
    trained: tuple[Any, Path],
) -> None:
    network, out = trained
    results = json.loads((out / "test_results.json").read_text())
    test = texts(30, 2)
    tokens = torch.stack([text["input_ids"] for text in test])
    mask = torch.stack([text["attention_mask"] for text in test])
    labels = torch.tensor([text["labels"] for text in test])
    for one, values in ((network, results), (model(), results["untrained"])):
        with torch.no_grad():
            told = one.eval()(tokens, attention_mask=mask, output_hidden_states=True)
        hidden = (told.hidden_states[1] * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        own = values["metrics"]
        assert own[FIRST]["participation_ratio"] == pytest.approx(
            participation_ratio(hidden.double().numpy()), rel=1e-4
        )
        hits = (told.logits.argmax(1) == labels).float().mean()
        assert own[OUTPUT]["accuracy"] == pytest.approx(float(hits))


def test_a_report_is_made_of_the_run(trained: tuple[Any, Path]) -> None:
    assert call("report", str(trained[1])).exit_code == 0
    assert FIRST in (trained[1] / "report.html").read_text()


def test_an_evaluation_is_not_taken_for_a_step(tmp_path: Path) -> None:
    """One evaluation stands between all steps, of another number of samples."""
    out = tmp_path / "run"
    made = trainer(model(), eval_strategy="steps", eval_steps=1, eval_on_start=True, max_steps=3)
    observed(made, every=1, out=out)
    assert [line["n"] for line in lines(out, "train")] == [8] * 3
    assert [line["epoch"] for line in lines(out, "val")] == [0, 1, 2, 3]
    assert [line["n"] for line in lines(out, "val")] == [30] * 4


def test_a_step_is_a_batch_where_gradients_are_accumulated(tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = trainer(model(), gradient_accumulation_steps=3, num_train_epochs=1)
    observed(made, every=1, out=out)
    assert [line["step"] for line in lines(out, "train")] == [1, 2, 3, 4, 5, 6]


def test_of_several_evaluation_sets_the_first_one_is_measured(tmp_path: Path) -> None:
    made = trainer(model())
    made.eval_dataset = {"first": texts(20, 1), "second": texts(40, 1)}
    observed(made, every=100, out=tmp_path / "run")
    assert [line["n"] for line in lines(tmp_path / "run", "val")] == [20, 20]


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
def test_layers_that_are_run_again_in_the_backward_pass_are_measured_once(tmp_path: Path) -> None:
    network, plain = model(), model()
    for one in (network, plain):
        one.gradient_checkpointing_enable()
    layers = [f"bert.encoder.layer.{i}.attention" for i in range(2)]
    made = trainer(network, num_train_epochs=1)
    observed(made, layers=[*layers, OUTPUT], every=2, out=tmp_path / "run")
    trainer(plain, num_train_epochs=1).train()
    for line in lines(tmp_path / "run", "train"):
        assert set(line["metrics"]) == {*layers, OUTPUT}
    own = network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())


def test_without_labels_a_batch_has_no_values_that_need_them(tmp_path: Path) -> None:
    """With label smoothing the model is not given the labels."""
    observed(trainer(model(), label_smoothing_factor=0.1), every=4, out=tmp_path / "run")
    for line in lines(tmp_path / "run", "train"):
        assert line["acc"] is None
        assert set(line["metrics"][OUTPUT]) == {"participation_ratio", "linear_cka"}
        assert line["missing"][OUTPUT]["accuracy"] == f"{OUTPUT} has no labels"
    assert lines(tmp_path / "run", "val")[-1]["metrics"][OUTPUT]["accuracy"] > 0


def test_labels_of_tokens_are_told_or_left_out(tmp_path: Path) -> None:
    kind, message = "BertForTokenClassification", r"got shape \(8, 8\); give unpack="
    with pytest.raises(DataError, match=message):
        observed(trainer(model(kind), tagged), every=4, out=tmp_path / "wrong")

    def without_labels(batch: Any) -> Any:
        return {name: value for name, value in batch.items() if name != "labels"}

    observed(trainer(model(kind), tagged), every=4, out=tmp_path / "run", unpack=without_labels)
    for line in (*lines(tmp_path / "run", "train"), *lines(tmp_path / "run", "val")):
        assert line["missing"][FIRST]["probe_accuracy"] == f"{FIRST} has no labels"
        assert line["metrics"][FIRST]["participation_ratio"] > 0


@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("no more"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_a_training_that_fails_leaves_no_hook_and_a_status(
    tmp_path: Path, error: BaseException, told: str
) -> None:
    class Fails(hf.Trainer):  # type: ignore[name-defined, misc]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            if self.state.global_step == 2:
                raise error
            return super().compute_loss(*args, **kwargs)

    network = model()
    with pytest.raises(type(error)):
        observed(trainer(network, kind=Fails), every=1, out=tmp_path / "run")
    assert hooks_on(network) == 0
    assert state(tmp_path / "run") == told


def test_without_a_block_a_failure_is_told_when_the_callback_is_gone(tmp_path: Path) -> None:
    class Fails(hf.Trainer):  # type: ignore[misc, name-defined]
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            raise ZeroDivisionError

    network = model()
    made = trainer(network, kind=Fails)
    test = made.get_test_dataloader(texts(30, 2))
    made.add_callback(CmpCallback(LAYERS, METRICS, test=test, out=tmp_path / "run"))
    with pytest.raises(ZeroDivisionError):
        made.train()
    del made
    gc.collect()
    assert hooks_on(network) == 0
    assert state(tmp_path / "run") == "failed"


def test_what_is_wrong_is_told_before_the_first_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="unknown argument 'evry'; did you mean 'every'"):
        CmpCallback(LAYERS, evry=3)
    with pytest.raises(UsageError, match=r"layers: unknown module 'bert\.layer\.\*'"):
        observed(trainer(model()), layers="bert.layer.*", out=out)
    assert not out.exists()


def test_a_callback_observes_one_training() -> None:
    made = trainer(model(), max_steps=1)
    with CmpCallback(LAYERS, METRICS) as callback:
        made.add_callback(callback)
        made.train()
        with pytest.raises(UsageError, match="observes one training; make a new one for each"):
            made.train()


def test_without_the_library_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("cmp_core.integrations.transformers")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"'chain-of-metric-predictors\[transformers\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
