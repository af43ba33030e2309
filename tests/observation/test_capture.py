"""Tests of `cmp_core.observation.capture`: what is captured, and what stays on the model."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmp_core.errors import UsageError
from cmp_core.observation.capture import Capture, Output, device_of
from tests.observation.models import Answer, Net, Part, Tokens, Twice, hooks_on, samples


@contextmanager
def hooked(capture: Capture) -> Iterator[None]:
    capture.on()
    try:
        yield
    finally:
        capture.off()


def taken(model: nn.Module, layers: Any, *inputs: Any, **keywords: Any) -> tuple[Output, ...]:
    capture = Capture(model, layers)
    with hooked(capture):
        model(*inputs, **keywords)
        return capture.take()


def test_outputs_are_those_of_the_modules_whatever_is_done_to_them_later() -> None:
    model, (x, _) = Net().eval(), samples()
    first, second, drop, logits = taken(model, "*", x)
    assert torch.equal(first.values.values, model.first(x))
    assert (first.values.values < 0).any()  # before the ReLU in place
    assert torch.equal(second.values.values, model.second(model.first(x).relu()))
    assert torch.equal(logits.values.values, model(x))
    assert [one.returned for one in (first, second, drop, logits)] == [None] * 3 + [0]


def test_layers_are_in_the_order_in_which_they_run_and_calls_are_counted() -> None:
    model, x = Twice(), torch.randn(6, 4)
    found = taken(model, "*", x)
    assert [(one.path, one.call) for one in found] == [("shared", 0), ("shared", 1), ("last", 0)]
    assert torch.equal(found[1].values.values, model.shared(model.shared(x)))


@pytest.mark.parametrize(
    "form",
    [
        lambda x: (x, x + 1),
        lambda x: [None, x],
        lambda x: {"loss": None, "hidden": x},
        lambda x: Answer(None, x),
        lambda x: ((x,), {}),
    ],
)
def test_the_first_tensor_of_an_output_counts(form: Any) -> None:
    inner, x = Part(form), torch.randn(3, 4)
    model = nn.Sequential(inner)
    (found,) = taken(model, "0", x)
    assert torch.equal(found.values.values, inner.linear(x))
    assert found.returned is not None


def test_padding_is_told_by_the_arguments_of_the_model() -> None:
    model = Tokens().eval()
    ids = torch.randint(0, 20, (4, 6))
    mask = torch.ones(4, 6)
    mask[:, 4:] = 0
    with torch.no_grad():
        *_, last = taken(model, "encoder.layers.*", ids, attention_mask=mask)
        *_, by_position = taken(model, "encoder.layers.*", ids, mask)
        hidden = model.encoder(model.embed(ids), src_key_padding_mask=mask == 0)
    expected = hidden[:, :4].double().mean(1).float()
    assert torch.allclose(last.values.values, expected, atol=1e-6)
    assert torch.allclose(by_position.values.values, expected, atol=1e-6)


def test_a_mask_is_found_where_forward_is_general() -> None:
    class General(Tokens):
        def forward(self, *args: Any, **kwargs: Any) -> Answer:
            return super().forward(*args, **kwargs)

    model, ids, mask = General().eval(), torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3)
    mask[:, 1:] = 0
    (found,) = taken(model, "embed", ids, attention_mask=mask)
    assert torch.allclose(found.values.values, model.embed.weight[0].expand(2, -1))


def test_a_mask_of_other_positions_is_told_with_the_layer() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(20, 8)
            self.mix = nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.head(self.mix(self.embed(ids)[:, ::2]).mean(1))

    model, ids, mask = Pooled(), torch.zeros(4, 6, dtype=torch.long), torch.ones(4, 6)
    with pytest.raises(UsageError, match=r"layer mix: mask: .* 3 positions .* \(4, 6\)"):
        taken(model, "mix", ids, mask)
    capture = Capture(model, "*", {"mix": lambda x: x.mean(1)})
    with hooked(capture):
        model(ids, mask)
        _, mix, head = capture.take()
    expected = model.mix(model.embed.weight[0]).expand(4, -1)
    assert torch.allclose(mix.values.values, expected, atol=1e-6)
    assert head.values.values.shape == (4, 3)


def test_nothing_stays_on_the_model_even_after_an_error() -> None:
    model, (x, _) = Net(), samples()
    capture = Capture(model, "*")
    capture.on()
    capture.on()
    assert hooks_on(model) == 6
    model(x)
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 99))
    assert hooks_on(model) == 6
    capture.off()
    assert hooks_on(model) == 0


def test_no_graph_is_kept() -> None:
    model, (x, _) = Net(), samples()
    capture = Capture(model, "*")
    with hooked(capture):
        loss = model(x).sum()
        found = capture.take()
    assert not any(one.values.values.requires_grad for one in found)
    graph = loss.grad_fn
    del loss
    gc.collect()
    assert len(gc.get_referrers(graph)) <= 1


def test_the_last_pass_before_a_step_counts() -> None:
    model = Net().eval()
    (x, _), (other, _) = samples(), samples(7, seed=1)
    capture = Capture(model, "logits")
    with hooked(capture):
        model(other)
        model(x)
        (found,) = capture.take()
        assert torch.equal(found.values.values, model(x))
        capture.take()
        with pytest.raises(UsageError, match="the model was not run since the last step"):
            capture.take()


def test_modules_may_be_run_by_themselves() -> None:
    model, (x, _) = Net().eval(), samples()
    capture = Capture(model, ["first", "second"])
    with hooked(capture):
        model.second(model.first(x))
        assert [one.path for one in capture.take()] == ["first", "second"]


def test_whether_the_model_itself_was_run_is_known() -> None:
    model, (x, _) = Net().eval(), samples()
    capture = Capture(model, ["first", "second"])
    with hooked(capture):
        assert not capture.is_partial
        model.second(model.first(x))
        assert capture.is_partial
        model(x)
        assert not capture.is_partial
        capture.clear()
        assert not capture.has_run


def test_modules_that_run_again_in_the_backward_pass_are_captured_once() -> None:
    class Checkpointed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.logits(checkpoint(self.hidden, x, use_reentrant=False))

        def hidden(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).relu())

    model, (x, _) = Checkpointed(), samples()
    ran: list[bool] = []
    model.first.register_forward_hook(lambda *_: ran.append(True))
    capture = Capture(model, ["first", "logits"])
    with hooked(capture):
        model(x).sum().backward()
        assert len(ran) == 2
        assert [(one.path, one.call) for one in capture.take()] == [("first", 0), ("logits", 0)]


@pytest.mark.parametrize(
    ("labels", "are_classes"),
    [
        (torch.arange(5) % 3, True),
        (torch.arange(5, dtype=torch.int32), True),
        (torch.rand(5), False),  # of a regression
        (torch.zeros(5, 4, dtype=torch.long), False),  # of tokens
        ([0, 1, 2, 0, 1], False),
        (None, False),
    ],
)
def test_classes_among_the_arguments_of_the_model_are_known(labels: Any, are_classes: bool) -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor, labels: Any = None) -> Tensor:
            return self.head(x)

    model = Given()
    capture = Capture(model, "head")
    with hooked(capture):
        for arguments, keywords in [((), {"labels": labels}), ((labels,), {})]:
            model(torch.randn(5, 4), *arguments, **keywords)
            assert (capture.labels is labels) == (are_classes or labels is None)
        model(torch.randn(5, 4))
        assert capture.labels is None


def test_a_layer_that_does_not_run_is_told() -> None:
    class Half(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.first(x)

    with pytest.raises(UsageError, match=r"second, logits did not run .* these did: first"):
        taken(Half(), ["first", "second", "logits"], samples()[0])


def test_modules_named_like_one_that_does_not_run_are_told() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(4, 4)
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[1](self.blocks[0](self.stem(x)))

    with pytest.raises(
        UsageError, match=r"these did: stem\. .* similar names: blocks\.1, blocks\.0"
    ):
        taken(Listed(), ["stem", "blocks"], torch.randn(3, 4))


def test_an_output_that_is_no_layer_is_told_and_does_not_end_the_pass() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Part(lambda x: x.mean()))
    capture = Capture(model, "1")
    with hooked(capture):
        assert model(torch.randn(3, 4)).ndim == 0
        with pytest.raises(UsageError, match=r"layer 1: expected an output \(n, …\)"):
            capture.take()


def test_reductions_by_pattern() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3), nn.Flatten())
    capture = Capture(model, "*", {"*": "max", "1": "flatten"})
    assert capture.reductions == {"0": "max", "1": "flatten", "2": "max"}
    with hooked(capture):
        model(torch.randn(2, 1, 6, 6))
        assert [one.values.values.shape[1] for one in capture.take()] == [2, 12, 12]


@pytest.mark.parametrize(
    ("reduce", "message"),
    [
        ({"1": "max"}, "reduce: unknown layer '1'; known: 0$"),  # a module, not observed
        ({"x": "max"}, "reduce: unknown layer 'x'"),
        ({0: "max"}, "reduce: expected paths of modules, .* got 0"),
    ],
)
def test_reductions_of_what_is_not_observed_are_refused(reduce: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Capture(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "0", reduce)


def test_compiled_code_is_captured_or_told() -> None:
    """Whether it runs hooks that are added later is up to torch; never is nothing said."""
    model, (x, _) = Net().eval(), samples()
    compiled = torch.compile(model, backend="eager")
    before = compiled(x)
    capture = Capture(compiled, "*")
    with hooked(capture):
        assert torch.equal(compiled(x), before)
        try:
            found = capture.take()
        except UsageError as error:
            assert "it skips hooks that are added afterwards" in str(error)  # noqa: PT017
        else:
            assert torch.equal(found[-1].values.values, before)
    with torch.compiler.set_stance("force_eager"), hooked(capture):
        compiled(x)
        assert [one.path for one in capture.take()] == ["first", "second", "drop", "logits"]


@pytest.mark.parametrize("context", [torch.no_grad(), torch.inference_mode()])
def test_passes_without_gradients(context: Any) -> None:
    with context:
        assert len(taken(Net().eval(), "*", samples()[0])) == 4


def test_mixed_precision_is_averaged_in_float32() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = taken(model, "*", torch.randn(4, 1, 8, 8))
    assert found.values.values.dtype == torch.float32


def test_a_model_without_parameters_is_on_the_cpu() -> None:
    assert device_of(nn.ReLU()).type == "cpu"
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"


def test_a_pass_without_samples_ends_as_it_would() -> None:
    """What is returned is compared with the scores that it may be made of."""

    class LogProbabilities(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).log_softmax(1)

    model = LogProbabilities().eval()
    capture = Capture(model, "*")
    capture.on()
    assert model(torch.empty(0, 5)).shape == (0, 3)
    model(samples()[0])
    assert [one.returned for one in capture.take()] == [None, None, None, 0]
    capture.off()
