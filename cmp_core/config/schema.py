"""The configuration of a run: its keys, their defaults and their rules."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs

from cmp_core.errors import ConfigError


@attrs.frozen
class Selection:
    """One selected metric: its registered name, the label of its values, and its options."""

    name: str
    label: str
    options: Mapping[str, Any] = attrs.field(factory=dict)


def _rule(text: str, holds: Callable[[Any], bool]) -> Any:
    """Return an attrs validator whose error states the key, the rule and the value received."""

    def validate(_: Any, attribute: Any, value: Any) -> None:
        if not holds(value):
            raise ConfigError([f"{attribute.name}: expected {text}, got {shown(value)}"])

    return validate


def _one_of(*choices: str) -> Any:
    return _rule("one of " + ", ".join(choices), lambda value: value in choices)


Concern = Literal[
    "experiment", "scale", "dataset", "seed", "place", "machine", "measurement", "record"
]
"""What a key is about:

- `experiment`: what is learned; runs that differ in such a key are no replicates;
- `scale`: so is this, and it decides in which units scores and activations are;
- `dataset`: what follows from the dataset; it is compared with it, and not stored;
- `seed`: which replicate it is;
- `place`: where data and hardware are; the only keys of an existing run that may be changed;
- `machine`: how the hardware computes, the same but for rounding;
- `measurement`: which metrics are measured; a snapshot is measured with those of its run;
- `record`: what is stored of the run, when and where.
"""


def _key(default: Any, rule: Any = None, *, help: str, about: Concern = "experiment") -> Any:
    return attrs.field(default=default, validator=rule, metadata={"help": help, "about": about})


def _folder(default: str, *, help: str, about: Concern) -> Any:
    """A path whose `~` stands for the home folder, which not every shell expands after a `=`."""
    metadata = {"help": help, "about": about}
    rule = _rule("a path in UTF-8, not empty, without a null character", _is_path)
    return attrs.field(
        default=default, converter=os.path.expanduser, validator=rule, metadata=metadata
    )


def _whole(minimum: int, most: int = 10**9) -> Any:
    """A whole number, up to what no training comes near, so that a slip is told and not tried."""
    text = f"a whole number from {minimum:,} to {most:,}"
    return _rule(text, lambda value: minimum <= value <= most)


def _is_path(value: str) -> bool:
    try:
        return "\0" not in value and bool(value.encode())
    except UnicodeEncodeError:  # half a character, as of a name that is no UTF-8
        return False


def _is_share_or_count(value: float) -> bool:
    return value >= 1 if isinstance(value, int) else 0 < value < 1


def _has_unique_labels(value: str | tuple[Selection, ...]) -> bool:
    return isinstance(value, str) or len({item.label for item in value}) == len(value)


_positive = _rule("a number above 0", lambda value: 0 < value < math.inf)
_not_negative = _rule("a number of at least 0", lambda value: 0 <= value < math.inf)
_fraction = _rule("a number from 0 to 1", lambda value: 0 <= value <= 1)
_weights = _rule(
    "a number of at least 0, or a list of such numbers",
    lambda value: all(0 <= x < math.inf for x in _as_tuple(value)),
)


def _as_tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


@attrs.frozen
class Snapshots:
    """Which activations a run stores, see `docs/snapshot-format.md`.

    Raises:
        ConfigError: a value breaks its rule.
    """

    phase: str = _key("val", _one_of("val", "train", "test"), help="the split that is stored")
    schedule: str | tuple[int, ...] = _key(
        "log",
        _rule(
            "log, all, or a list of epochs", lambda v: isinstance(v, tuple) or v in ("log", "all")
        ),
        help="log: epochs 0, 1, 2, 4, … and the last; all; or a list of epochs",
    )
    samples: int | str = _key(
        2048,
        _rule(
            "a whole number of at least 1, or all",
            lambda value: value == "all" if isinstance(value, str) else value > 0,
        ),
        help="samples of the split, chosen by a hash of their id; or all",
    )
    layers: str | tuple[str, ...] = _key(
        "all",
        _rule(
            "all, or a list of names",
            lambda value: value == "all" if isinstance(value, str) else len(value) > 0,
        ),
        help="names of layers, or all",
    )
    inputs: bool = _key(True, help="store the inputs as well")
    fit: str = _key(
        "last",
        _one_of("last", "all", "none"),
        help="which files have the training samples that probes are fitted to, at most 8,192",
    )
    dtype: str = _key("float32", _one_of("float32", "float16"), help="type of stored numbers")
    compression: str = _key("gzip", _one_of("gzip", "lzf", "none"), help="of the stored numbers")


@attrs.frozen
class Config:
    """Everything that decides a run. The defaults train a greedy net on the digits in seconds.

    Raises:
        ConfigError: a value breaks its rule, or two values contradict each other.

    >>> Config(layers=3, lambda_ace=(0.01, 0.02)).ace_weights
    (0.01, 0.02)
    """

    # Data
    dataset: str = _key("digits", help="registered dataset, for example digits, mnist, cifar10")
    num_classes: int | None = _key(
        None,
        _rule("a whole number of at least 1, or null", lambda value: value is None or value >= 1),
        help="classes that the dataset must have, as older scripts store them; null: any",
        about="dataset",
    )
    input_dim: int | None = _key(
        None,
        _rule("a whole number of at least 1, or null", lambda value: value is None or value >= 1),
        help="numbers per sample that the dataset must have, likewise",
        about="dataset",
    )
    data_dir: str = _folder(
        "data", help="folder that datasets are read from and downloaded to", about="place"
    )
    val_size: int | float = _key(
        0.1,
        _rule("a count of at least 1, or a fraction between 0 and 1", _is_share_or_count),
        help="training samples held out for validation: a count, or a fraction such as 0.1",
    )
    image_size: int = _key(
        32, _whole(1, 10_000), help="side in pixels to which image_folder resizes"
    )
    batch_size: int = _key(32, _whole(1), help="training samples per step")
    num_workers: int = _key(
        0, _whole(0, 1_000), help="processes that load what does not fit in memory", about="place"
    )

    # Model
    model: str = _key("greedy", help="registered model, for example greedy, mlp", about="scale")
    N: int = _key(256, _whole(1, 10**6), help="units per layer", about="scale")
    layers: int = _key(4, _whole(1, 10_000), help="number of layers (the MLP's head comes on top)")
    similarity: str = _key(
        "cosine",
        _one_of("cosine", "l2"),
        help="score of a layer against its anchors",
        about="scale",
    )
    tau: float = _key(
        0.05, _positive, help="temperature: q = softmax(similarity / tau)", about="scale"
    )
    anchors: str = _key(
        "orthonormal",
        _one_of("orthonormal", "block"),
        help="fixed class anchors: signed orthonormal, or non-negative blocks of units",
        about="scale",
    )
    input_norm: str = _key(
        "none",
        _one_of("none", "l2", "l1", "rms"),
        help="normalisation of every layer's input",
        about="scale",
    )
    residual: bool = _key(
        False, help="add a layer's input to its output where the widths agree", about="scale"
    )

    # Learning
    learning_rule: str | None = _key(None, help="registered learning rule; null: the model's own")
    lambda_ace: float | tuple[float, ...] = _key(
        0.02, _weights, help="weight of the ACE term: one number, or one for each of layers-1 pairs"
    )
    ace_variant: str = _key(
        "ce_i_next",
        _one_of("ce_i_next", "ce_next_i", "js", "sym_kl"),
        help="divergence between neighbouring layers that the ACE term rewards",
    )
    epochs: int = _key(10, _whole(1), help="passes over the training set")
    lr: float = _key(1e-3, _positive, help="peak learning rate of AdamW")
    weight_decay: float = _key(0.0, _not_negative, help="decoupled weight decay of AdamW")
    scheduler: str = _key(
        "cosine", _one_of("cosine", "constant"), help="learning rate after the warm-up"
    )
    warmup_ratio: float = _key(0.05, _fraction, help="share of all steps with a rising rate")
    seed: int = _key(
        0,
        _rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32),
        help="seed of split, weights, anchors and sample order",
        about="seed",
    )
    device: str = _key(
        "auto",
        _rule(
            "auto, cpu, mps, cuda or cuda:<index>",
            lambda value: re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", value) is not None,
        ),
        help="auto takes CUDA, then MPS, then the CPU",
        about="place",
    )
    threads: int | str = _key(
        "auto",
        _rule(
            "auto, or a whole number from 1 to 1,024",
            lambda v: v == "auto" if isinstance(v, str) else 1 <= v <= 1024,
        ),
        help="threads that compute on the CPU; auto: one up to 512 units per layer, else one on "
        "each core",
        about="machine",
    )
    amp: bool = _key(False, help="bfloat16 autocast (CUDA only)", about="machine")
    detect_divergence: bool = _key(
        True, help="stop with an error when the loss is not finite", about="record"
    )

    # Measurement
    metrics: Literal["all"] | tuple[Selection, ...] = _key(
        "all",
        _rule(
            "a different label for each metric (add `label:` to one that is selected twice)",
            _has_unique_labels,
        ),
        help="all, or a list of all, names, no:NAME, and {name: …, label: …, <option>: …}",
        about="measurement",
    )
    enable_slow_metrics: bool = _key(
        True, help="false drops the metrics that declare to be slow", about="measurement"
    )
    margins: Mapping[str, float] = _key(
        attrs.Factory(dict),
        help="smallest effects that matter to the three questions, by metric, where they are not "
        "the usual ones, as in {probe_accuracy: 0.02}",
        about="measurement",
    )
    metrics_frequency: str = _key(
        "iteration",
        _one_of("iteration", "epoch"),
        help="epoch measures at epoch ends alone; iteration measures training batches as well",
        about="record",
    )
    metrics_log_frequency: int = _key(
        5, _whole(1), help="training steps between two measured batches", about="record"
    )

    snapshots: Snapshots | None = _key(  # noqa: RUF009 (it is frozen)
        Snapshots(), help="which activations are stored; null: none", about="record"
    )

    # The run
    plots: Literal["all", "standard"] | tuple[Selection, ...] = _key(
        "standard",
        _rule(
            "a different label for each plot (add `label:` to one that is selected twice)",
            _has_unique_labels,
        ),
        help="what `cmp run` draws: standard, the pictures that are looked at first; all; or a "
        "list of these and of names, as for metrics, with the options metric, layer, phase, "
        "normalize; `[]`: none",
        about="record",
    )
    plugins: tuple[str, ...] = _key((), help="plugins to load, as with -p", about="measurement")
    on_plugin_error: str = _key(
        "disable",
        _one_of("disable", "raise", "warn"),
        help="what happens to a plugin that raises during the run",
        about="measurement",
    )
    checkpoint_every: int = _key(
        1, _whole(1), help="epochs between two saves of last.pt", about="record"
    )
    checkpoint_minutes: float = _key(
        10.0,
        _positive,
        help="minutes after which last.pt is saved within an epoch too, so that no more is lost",
        about="record",
    )
    out: str = _folder("runs", help="folder under which run directories are made", about="record")

    def __attrs_post_init__(self) -> None:
        problems = _contradictions(self)
        if problems:
            raise ConfigError(problems)

    @property
    def ace_weights(self) -> tuple[float, ...]:
        """The weight λ of every connection i → i+1, `layers - 1` numbers."""
        if isinstance(self.lambda_ace, tuple):
            return self.lambda_ace
        return (self.lambda_ace,) * (self.layers - 1)


def keys_about(*concerns: Concern) -> tuple[str, ...]:
    """Return the keys of a configuration that are about something.

    >>> keys_about("place")
    ('data_dir', 'num_workers', 'device')
    """
    fields = attrs.fields(Config)
    return tuple(field.name for field in fields if field.metadata["about"] in concerns)


def _contradictions(config: Config) -> list[str]:
    expected = config.layers - 1
    if isinstance(config.lambda_ace, tuple) and len(config.lambda_ace) != expected:
        return [
            f"lambda_ace: expected one number, or a list of layers - 1 = {expected} numbers, "
            f"got a list of {len(config.lambda_ace)}"
        ]
    return []


def shown(value: Any) -> str:
    """Return a value the way a YAML file spells it, for messages; of a long one the beginning.

    >>> shown([1, None, "a"]), len(shown("a" * 10**6))
    ("[1, null, 'a']", 200)
    """
    text = ""
    for piece in _pieces(value):
        text += piece[: LONGEST_SHOWN + 1]
        if len(text) > LONGEST_SHOWN:
            return text[: LONGEST_SHOWN - 1] + "…"
    return text


LONGEST_SHOWN = 200
"""Characters of a value in a message."""

_LONGEST_NUMBER = 640
"""Bits of a whole number that Python writes in decimals at once."""


def _pieces(value: Any) -> Iterator[str]:
    """Yield the text of a value bit by bit, so that no more is made than is shown."""
    if isinstance(value, str):
        yield "'"
        yield value
        yield "'"
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, Selection):
        yield value.label
    elif isinstance(value, Mapping):
        yield "{"
        for index, (key, item) in enumerate(value.items()):
            yield f"{', ' if index else ''}{key}: "
            yield from _pieces(item)
        yield "}"
    elif isinstance(value, (list, tuple)):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _pieces(item)
        yield "]"
    elif isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:
        yield hex(value)
    else:
        yield str(value)


attrs.resolve_types(Snapshots)
attrs.resolve_types(Config)
