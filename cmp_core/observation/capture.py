"""Capturing what modules put out, with forward hooks that are there only while they are needed."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cmp_core.errors import UsageError
from cmp_core.observation.layout import layouts_of
from cmp_core.observation.modules import Modules, chosen_modules, matching, unwrapped
from cmp_core.observation.reduction import Reduced, Reduction, check_reduction, reduced


@attrs.frozen(eq=False)
class Output:
    """What a module has put out in a forward pass.

    Attributes:
        path: of the module in the model.
        call: how many times the module was called before in the pass.
        values: reduced to (k, N).
        returned: its place among the tensors that the model returns, or none. A logarithm of
            probabilities, or probabilities, of scores stand for the scores.
    """

    path: str
    call: int
    values: Reduced
    returned: int | None = None


@attrs.define(eq=False)
class _Pass:
    """What is captured of a forward pass."""

    outputs: list[Output] = attrs.field(factory=list)
    raw: list[weakref.ref[Tensor]] = attrs.field(factory=list)
    mask: Tensor | None = None
    labels: Tensor | None = None
    error: Exception | None = None
    has_run: bool = False
    is_over: bool = False


_RUNS: ContextVar[Capture | None] = ContextVar("runs", default=None)
"""The capture whose observer runs the model by itself, of which others capture nothing."""


class Capture:
    """Captures the outputs of modules in the last forward pass of a model.

    Without hooks the model is as it was: `on` adds them, `off` removes them all. An error in a hook
    is kept for `take`, as it must not end the model's own pass.

    Args:
        model: may be wrapped in `DataParallel` and the like, or compiled.
        layers: the modules, see `chosen_modules`.
        reduce: from (n, …) to (n, N), see `reduced`: for all, or by path or pattern of path.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Modules,
        reduce: Reduction | Mapping[str, Reduction] = "mean",
    ) -> None:
        self._model = unwrapped(model)
        self._is_compiled = hasattr(model, "_orig_mod") or _is_compiled(self._model)
        self._modules = chosen_modules(model, layers)
        self.reductions = _by_path(self._modules, reduce)
        self._layouts = layouts_of(self._model, self._modules)
        self._handles: list[RemovableHandle] = []
        self._pass = _Pass()

    @property
    def is_on(self) -> bool:
        """Whether the hooks are there."""
        return bool(self._handles)

    @property
    def has_run(self) -> bool:
        """Whether the model was run since `on` or `take`."""
        return self._pass.has_run or bool(self._pass.outputs)

    @property
    def is_partial(self) -> bool:
        """Whether modules were run since then, and the model itself was not."""
        return bool(self._pass.outputs) and not self._pass.has_run

    @property
    def labels(self) -> Tensor | None:
        """The classes (n,) that the model was given as `labels` in its last pass."""
        return self._pass.labels

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the modules."""
        return tuple(self._modules)

    def on(self) -> None:
        """Add the hooks."""
        if self._handles:
            return
        self._pass = _Pass()
        root = self._model
        plain: Any = torch.compiler.disable  # a compiler that sees the hooks must not trace them
        self._handles = [
            root.register_forward_pre_hook(plain(self._begin), with_kwargs=True),
            *(
                module.register_forward_hook(plain(self._hook(path)))
                for path, module in self._modules.items()
            ),
            root.register_forward_hook(plain(self._end)),
        ]

    def off(self) -> None:
        """Remove the hooks, and drop what they have captured."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._pass = _Pass()

    def clear(self) -> None:
        """Drop what was captured of passes until now."""
        self._pass = _Pass()

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Keep what is captured through other passes in a `with` block, which has no hooks yet."""
        kept = self._pass
        was_on = self.is_on
        self.off()
        token = _RUNS.set(self)
        try:
            yield
        finally:
            _RUNS.reset(token)
            self.off()
            if was_on:
                self.on()
            self._pass = kept

    def take(self) -> tuple[Output, ...]:
        """Return the outputs of the last forward pass in the order of execution.

        Raises:
            UsageError: the model was not run, a module of it was not, or an output is no layer.
        """
        found, outputs = self._pass, tuple(self._pass.outputs)
        self._pass = _Pass()
        if found.error is not None:
            raise found.error
        if not outputs and not found.has_run and not self._is_compiled:
            raise UsageError("the model was not run since the last step: there are no activations")
        if not outputs:
            raise UsageError(
                f"no layer ran, of {', '.join(self._modules)}. If the model is compiled: it skips "
                "hooks that are added afterwards; observe it before its first compiled pass, or "
                "measure with evaluate(), which runs it uncompiled"
            )
        ran = {output.path for output in outputs}
        if missing := [path for path in self._modules if path not in ran]:
            raise UsageError(
                f"layers: {', '.join(missing)} did not run in the forward pass; these did: "
                f"{', '.join(dict.fromkeys(o.path for o in outputs)) or 'none'}"
                f"{self._near(missing)}"
            )
        return outputs

    def _near(self, missing: Sequence[str]) -> str:
        """Return what to say of modules that are named like those that did not run."""
        others = [path for path, _ in self._model.named_modules() if path not in self._modules]
        near = {name: None for path in missing for name in get_close_matches(path, others)}
        return f". The model has modules of similar names: {', '.join(near)}" if near else ""

    # Hooks

    @property
    def _is_idle(self) -> bool:
        """Whether a pass is not to be captured: a compiler may call hooks that were removed."""
        return not self._handles or _RUNS.get() not in (None, self)

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin anew: what counts is the last forward pass before a step."""
        if self._is_idle:
            return
        self._pass = _Pass()
        self._pass.has_run = True
        given = _arguments(model, args, kwargs)
        for name, kept in MASKS.items():
            mask = given.get(name)
            if isinstance(mask, Tensor):
                self._pass.mask = (mask != 0) == kept
        labels = given.get("labels")
        if isinstance(labels, Tensor) and labels.ndim == 1 and labels.dtype in CLASS_TYPES:
            self._pass.labels = labels

    def _end(self, _: nn.Module, __: Any, output: Any) -> None:
        """Tell which of the outputs the model returns, and end the pass.

        Checkpointed modules run again in the backward pass, where nothing is captured.
        """
        if self._is_idle:
            return
        self._pass.is_over = True
        parts = list(_tensors(output))
        self._pass.outputs = [
            attrs.evolve(one, returned=_place(one, raw(), parts))
            for one, raw in zip(self._pass.outputs, self._pass.raw, strict=True)
        ]

    def _hook(self, path: str) -> Any:
        reduction, layout = self.reductions[path], self._layouts[path]

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if self._pass.is_over or self._is_idle:
                return
            try:
                tensor = _first_tensor(output)
                values = reduced(tensor, reduction, self._pass.mask, layout)
            except Exception as error:  # told by `take`: the model's own pass must go on
                known = error if isinstance(error, UsageError) else None
                self._pass.error = UsageError(f"layer {path}: {known or repr(error)}")
                return
            call = sum(known.path == path for known in self._pass.outputs)
            self._pass.outputs.append(Output(path, call, values))
            self._pass.raw.append(weakref.ref(tensor))

        return hook


CLASS_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""What labels are when they are classes; a model's `labels` may be targets of a regression."""

MASKS: Mapping[str, bool] = {"attention_mask": True, "src_key_padding_mask": False}
"""Arguments with which models are told which tokens are padding, by Hugging Face's and torch's
names, and the value that stands for a token."""


def _arguments(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the arguments of a call by name, as far as `forward` names them."""
    try:
        bound = inspect.signature(model.forward).bind_partial(*args, **kwargs)
    except (TypeError, ValueError):  # no signature, or a call that the model itself will refuse
        return kwargs
    return {**bound.arguments, **kwargs}


def _place(one: Output, raw: Tensor | None, parts: Sequence[Tensor]) -> int | None:
    """Return which of the returned tensors an output is, or gives the class probabilities of."""
    for place, part in enumerate(parts):
        if part is raw:
            return place
    scores = one.values.values
    if not scores.numel() or scores.shape[1] < 2:
        return None
    for place, part in enumerate(parts):
        is_alike = part.shape == scores.shape and part.device == scores.device
        if is_alike and part.is_floating_point():
            log_p = part.detach().to(scores.dtype)
            if any(_is_shifted(form, scores) for form in (log_p, log_p.log())):
                return place
    return None


def _is_shifted(values: Tensor, scores: Tensor) -> bool:
    """Return whether values (n, C) differ from scores by a number for each sample alone."""
    rest = values - scores
    spread = (rest.amax(1) - rest.amin(1)).amax()
    return bool(spread <= 1e-3 * (scores.amax() - scores.amin()))


def _by_path(
    paths: Iterable[str], reduce: Reduction | Mapping[str, Reduction]
) -> dict[str, Reduction]:
    """Return the reduction of each module; of several patterns that fit the last one counts."""
    found: dict[str, Reduction] = dict.fromkeys(paths, "mean")
    patterns = reduce if isinstance(reduce, Mapping) else {"**": reduce}
    for pattern, reduction in patterns.items():
        check_reduction(reduction)
        fitting = matching("reduce", "layer", pattern, list(found))
        found |= dict.fromkeys(fitting, reduction)
    return found


def _is_compiled(model: nn.Module) -> bool:
    return any(
        getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()
    )


def _first_tensor(output: Any) -> Tensor:
    for tensor in _tensors(output):
        return tensor
    raise UsageError(f"expected a tensor, got {type(output).__name__}")


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of an output in order: of tuples, mappings and dataclasses as well."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, Sequence) and not isinstance(output, str):
        for item in output:
            yield from _tensors(item)
    elif hasattr(output, "__dataclass_fields__"):
        for name in output.__dataclass_fields__:
            yield from _tensors(getattr(output, name))


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; the CPU for a model without."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")
