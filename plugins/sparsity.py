"""Sparsity: the share of activations that are exactly zero.

A metric in one file. Use it with `cmp run -p cmp:sparsity`, or copy it and change it.
"""

from __future__ import annotations

from torch import Tensor

from cmp_core import LayerView, metric


@metric("sparsity", unit="fraction", bounds=(0, 1), split="mean")
def sparsity(view: LayerView) -> Tensor:
    """Mean share of a sample's units that are zero: 0 dense, 1 dead. Glorot et al. 2011."""
    return (view.activations == 0).float().mean(dim=1)
