"""Accuracy of a layer's scores: how often the largest one is the label's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmp_core import hookimpl, metric

if TYPE_CHECKING:
    from torch import Tensor

    from cmp_core import LayerView, Register


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where argmax_c score_c is the label and 0 elsewhere; the mean is the accuracy.

    Args:
        scores: (n, C).
        labels: (n,) int64.

    Returns:
        (n,), a fraction once averaged. Of equal scores the first class counts as chosen.

    >>> import torch
    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).tolist()
    [1.0, 0.0]
    """
    return (scores.argmax(dim=1) == labels).float()


@metric(
    "accuracy",
    unit="fraction",
    question="predictive",
    bounds=(0, 1),
    invariances={"permute_samples"},
    needs=("scores", "labels"),
    per_sample=True,
)
def accuracy_metric(view: LayerView) -> Tensor:
    """Share of samples whose highest-scored class is the label.

    Greedy layers are scored against their fixed anchors; an MLP's hidden layers and the input
    against class means (a nearest-class-mean classifier); the head by its logits. Not a probe:
    no classifier is fitted, so a layer that separates the classes in another way reads low.
    """
    return accuracy(view.scores, view.labels)


@hookimpl
def cmp_register_metrics(register: Register) -> None:
    """Register the metric."""
    register(accuracy_metric)
