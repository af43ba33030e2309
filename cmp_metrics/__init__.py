"""The built-in metrics: one file each, found by file name, and their plain functions on arrays.

The functions take NumPy arrays and torch tensors. Activations (n, p) may have more dimensions,
(n, …), which are flattened; scores (n, C) and anchors (C, p) may not.

>>> import numpy as np
>>> from cmp_metrics import linear_cka
>>> x = np.random.default_rng(0).normal(size=(50, 4))
>>> round(linear_cka(x, 3 * x), 6)
1.0
"""

from cmp_metrics.accuracy import accuracy as accuracy
from cmp_metrics.ace_regularizer import ace_regularizer as ace_regularizer
from cmp_metrics.alignment import alignment as alignment
from cmp_metrics.cross_entropy import cross_entropy as cross_entropy
from cmp_metrics.eigenspectrum import eigenspectrum as eigenspectrum
from cmp_metrics.f1_score import f1_score as f1_score
from cmp_metrics.gaussian_entropy import gaussian_entropy as gaussian_entropy
from cmp_metrics.gaussian_entropy_ema import diagonal_entropy as diagonal_entropy
from cmp_metrics.label_information import label_information as label_information
from cmp_metrics.linear_cka import (
    linear_cka as linear_cka,
    linear_cka_matrix as linear_cka_matrix,
)
from cmp_metrics.margin import margin as margin
from cmp_metrics.mutual_information import (
    mutual_information as mutual_information,
    pc1_binned as pc1_binned,
)
from cmp_metrics.participation_ratio import participation_ratio as participation_ratio
from cmp_metrics.probe_accuracy import probe_accuracy as probe_accuracy
from cmp_metrics.ridge_r2 import ridge_r2 as ridge_r2
from cmp_metrics.within_class_variance import within_class_variance as within_class_variance

__all__ = sorted(name for name, value in vars().items() if callable(value))
