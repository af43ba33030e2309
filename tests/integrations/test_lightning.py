"""Tests of `cmp_core.integrations.lightning`, with the real library."""

from __future__ import annotations

import importlib.util
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cmp_core.errors import UsageError
from tests.cli.calls import call
from tests.observation.models import Net, hooks_on, loader, samples
from tests.oracles.metrics import participation_ratio

pl = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")

from cmp_core.integrations.lightning import CmpCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)

LAYERS = ["net.first", "net.second", "net.logits"]
METRICS = ["accuracy", "participation_ratio", "linear_cka", "probe_accuracy"]


class Module(pl.LightningModule):  # type: ignore[name-defined, misc]
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.losses: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: Any, i: int) -> Tensor:
        loss = nn.functional.cross_entropy(self.run(batch[0]), batch[1])
        self.losses.append(float(loss.detach()))
        return loss

    def run(self, x: Tensor) -> Tensor:
        return self(x)

    def validation_step(self, batch: Any, i: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class Inner(Module):
    """Training calls an inner module, validation the module itself."""

    def run(self, x: Tensor) -> Tensor:
        return self.net(x)


def fit(
    module: Any, *callbacks: Any, val: Any = None, trainer: Any = pl.Trainer, **options: Any
) -> Any:
    torch.manual_seed(0)
    made = trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    shuffle = torch.Generator().manual_seed(4)
    training = loader(seed=1, shuffle=True, generator=shuffle)
    made.fit(module, training, val or loader(seed=2))
    return made


def module(kind: type[Module] = Module) -> Any:
    torch.manual_seed(0)
    return kind()


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A trained module, and its run directory."""
    out = tmp_path_factory.mktemp("lightning") / "run"
    found = module()
    callback = CmpCallback(
        LAYERS, METRICS, test=loader(seed=3), every=2, out=out, config={"seed": 0}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out.parent)
        fit(found, callback)
    return found, out


def test_the_weights_are_those_of_a_training_without(trained: tuple[Any, Path]) -> None:
    plain = module()
    fit(plain)
    own = trained[0].state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    assert hooks_on(trained[0]) == 0


def test_the_log_has_measured_steps_and_validation_epochs(trained: tuple[Any, Path]) -> None:
    found, out = trained
    told = [(line["phase"], line["epoch"], line.get("step")) for line in lines(out)]
    assert [x[1:] for x in told if x[0] == "train"] == [(1, 2), (2, 4), (2, 6)]
    assert [x[1] for x in told if x[0] == "val"] == [1, 2]
    losses = [line["loss"] for line in lines(out) if line["phase"] == "train"]
    assert losses == pytest.approx(found.losses[1::2])
    assert json.loads((out / "status.json").read_text())["state"] == "finished"


def test_the_test_has_the_values_of_the_trained_and_of_the_untrained_network(
    trained: tuple[Any, Path],
) -> None:
    found, out = trained
    results = json.loads((out / "test_results.json").read_text())
    x, y = samples(seed=3)
    for network, values in ((found, results), (module(), results["untrained"])):
        net = network.net.eval()
        with torch.no_grad():
            second = net.second(net.first(x).relu())
            hits = net.logits(second.relu()).numpy().argmax(1) == y.numpy()
        own = values["metrics"]
        assert own["net.logits"]["accuracy"] == pytest.approx(hits.mean())
        assert own["net.second"]["participation_ratio"] == pytest.approx(
            participation_ratio(second.double().numpy()), rel=1e-4
        )


def test_a_report_is_made_of_the_run(trained: tuple[Any, Path]) -> None:
    found = call("report", str(trained[1]))
    assert found.exit_code == 0
    assert "net.second" in (trained[1] / "report.html").read_text()


@pytest.mark.parametrize("kind", [Module, Inner])
def test_an_inner_module_is_observed_by_its_path(kind: type[Module], tmp_path: Path) -> None:
    found, out = module(kind), tmp_path / "run"
    layers = ["first", "second", "logits"]
    fit(found, CmpCallback(layers, METRICS, model="net", every=2, fit=None, out=out))
    batches = [line for line in lines(out) if line["phase"] == "train"]
    assert [line["step"] for line in batches] == [1, 2, 4, 6]
    assert all(set(line["metrics"]) == set(layers) for line in batches)
    assert {line["n"] for line in batches} == {20}
    assert all(line["acc"] == line["metrics"]["logits"]["accuracy"] for line in batches)


def test_a_module_that_training_passes_by_is_told(tmp_path: Path) -> None:
    found, out = module(Inner), tmp_path / "run"
    with pytest.raises(UsageError, match=r"runs modules .* CmpCallback\(model=…\)"):
        # The step that is measured comes after a validation, which calls the module itself.
        fit(found, CmpCallback(LAYERS, METRICS, test=loader(), every=4, out=out))
    assert hooks_on(found) == 0
    assert json.loads((out / "status.json").read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("error", "raised", "state"),
    [
        (ValueError("no more"), ValueError, "failed"),
        (KeyboardInterrupt(), SystemExit, "interrupted"),
    ],
)
def test_a_training_that_fails_leaves_no_hook_and_a_status(
    tmp_path: Path, error: BaseException, raised: type[BaseException], state: str
) -> None:
    class Fails(Module):
        def training_step(self, batch: Any, i: int) -> Tensor:
            if i == 1:
                raise error
            return super().training_step(batch, i)

    found, out = module(Fails), tmp_path / "run"
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(raised):
            fit(found, CmpCallback(LAYERS, METRICS, every=1, out=out))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
    assert hooks_on(found) == 0
    assert json.loads((out / "status.json").read_text())["state"] == state


def test_accumulated_gradients_have_a_step_for_each_batch_with_its_own_loss(tmp_path: Path) -> None:
    found, out = module(), tmp_path / "run"
    fit(found, CmpCallback(LAYERS, METRICS, every=1, out=out), accumulate_grad_batches=3)
    losses = [line["loss"] for line in lines(out) if line["phase"] == "train"]
    assert losses == pytest.approx(found.losses)
    assert len(losses) == 6


def test_of_several_validation_loaders_the_first_one_is_measured(tmp_path: Path) -> None:
    class Several(Module):
        def validation_step(self, batch: Any, i: int, dataloader_idx: int = 0) -> None:
            self(batch[0])

    for loaders in ([loader(30, 15), loader(60)], {"a": loader(30, 15), "b": loader(60)}):
        out = tmp_path / type(loaders).__name__
        fit(module(Several), CmpCallback(LAYERS, METRICS, every=9, out=out), val=loaders)
        assert [line["n"] for line in lines(out) if line["phase"] == "val"] == [30, 30]


def test_what_is_wrong_is_told_before_the_first_step(tmp_path: Path) -> None:
    found = module()
    with pytest.raises(UsageError, match="unknown argument 'evry'"):
        CmpCallback(evry=3)
    with pytest.raises(UsageError, match=r"unknown module 'net\.frist'; did you mean 'net.first'"):
        fit(found, CmpCallback("net.frist", METRICS, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert found.losses == []
    callback = CmpCallback(LAYERS, METRICS)
    fit(found, callback)
    with pytest.raises(UsageError, match="observes one training; make a new one for each"):
        fit(found, callback)


def test_where_pytorch_lightning_alone_is_installed_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = pytest.importorskip("pytorch_lightning", reason="pytorch_lightning is not installed")
    found = without("lightning", monkeypatch)
    assert issubclass(found.CmpCallback, other.Callback)

    class Classifier(other.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, i: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, i: int) -> None:
            self.net(batch[0])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    for kind in (found.CmpCallback, CmpCallback):  # either package's trainer takes either callback
        out = tmp_path / kind.__mro__[1].__module__
        fit(Classifier(), kind("*", METRICS, model="net", every=2, out=out), trainer=other.Trainer)
        assert [line["phase"] for line in lines(out)] == 2 * ["train", "train", "val"]


def test_without_either_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"pip install 'chain-of-metric-predictors\[lightning\]'"):
        without("lightning pytorch_lightning", monkeypatch)


def without(names: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module as it is imported where packages are not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in names.split() else find(name)
    )
    spec = find("cmp_core.integrations.lightning")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
