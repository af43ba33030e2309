"""What `test_results.json` says of accuracies, in the form of cmp and in that of older scripts.

These write `acc_last` for `acc`, and `acc_layers` as a list in order of depth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmp_core.runs.log import as_number


def output_accuracy(test: Mapping[str, Any]) -> float:
    """Return the accuracy of what a network answers, NaN where the test does not tell it.

    >>> output_accuracy({"acc": 0.9}), output_accuracy({"acc_last": 0.8}), output_accuracy({})
    (0.9, 0.8, nan)
    """
    told = as_number(test.get("acc"))
    return told if math.isfinite(told) else as_number(test.get("acc_last"))


def layer_accuracies(
    test: Mapping[str, Any], layers: Sequence[str], output: str
) -> dict[str, float]:
    """Return the accuracies of a test by layer, those that are numbers.

    Entries of a list are those of the layers in order of depth. Where the output is no such layer,
    a further entry is its own, and so is the last one if it is the accuracy of the output itself,
    however many there are.

    Args:
        test: the content of `test_results.json`.
        layers: without an output of its own, in order of depth.
        output: the layer that answers, which may be the last of these.

    >>> layer_accuracies({"acc": 0.9, "acc_layers": [0.3, 0.4]}, ["layer_0", "layer_1"], "head")
    {'layer_0': 0.3, 'layer_1': 0.4, 'head': 0.9}
    """
    told, of_output = test.get("acc_layers"), output_accuracy(test)
    known: dict[str, float] = {}
    if isinstance(told, Mapping):
        known = {str(layer): as_number(accuracy) for layer, accuracy in told.items()}
    elif isinstance(told, list):
        numbers = [as_number(accuracy) for accuracy in told]
        is_further = bool(layers) and len(numbers) > len(layers)
        if output not in layers and numbers and (is_further or numbers[-1] == of_output):
            known[output] = numbers.pop()
        names = [*layers, *(f"layer_{i}" for i in range(len(layers), len(numbers)))]
        known = {**dict(zip(names, numbers, strict=False)), **known}
    finite = {layer: accuracy for layer, accuracy in known.items() if math.isfinite(accuracy)}
    if math.isfinite(of_output) and not (isinstance(told, Mapping) and finite):
        finite.setdefault(output, of_output)
    return finite
