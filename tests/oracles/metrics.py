"""The metrics again, written as their definitions read, without a shared line."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.special import log_softmax, logsumexp
from scipy.stats import hypergeom
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import f1_score as sklearn_f1

from tests.oracles.sampling import folds_of

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SHARPNESS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
"""What `label_information` chooses β from: 0 and the powers of two up to 128."""


def hsic(x: Array, y: Array) -> float:
    """Song et al. 2012, equation for HSIC₁, with n × n matrices."""
    n = len(x)
    k, l = (z @ z.T for z in (x - x.mean(0), y - y.mean(0)))  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    total = np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (k @ l).sum()) / (n * (n - 3)))


def linear_cka(x: Array, y: Array, debiased: bool = True) -> float:
    if debiased:
        return hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y))
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def participation_ratio(x: Array, debiased: bool = True) -> float:
    if not debiased:
        values = np.linalg.eigvalsh(np.cov(x.T))
        return float(values.sum() ** 2 / (values**2).sum())
    return squared_trace(x) / hsic(x, x)


def squared_trace(x: Array) -> float:
    """¼ ‖xᵢ-xⱼ‖² ‖x_k-x_l‖² over distinct i, j, k, l, as a difference of sums over all of them."""
    d = squareform(pdist(x, "sqeuclidean"))
    n = len(x)
    distinct = d.sum() ** 2 - 4 * (d.sum(1) ** 2).sum() + 2 * (d**2).sum()
    return float(distinct / 4 / (n * (n - 1) * (n - 2) * (n - 3)))


def squared_trace_by_enumeration(x: Array) -> float:
    d = squareform(pdist(x, "sqeuclidean"))
    fours = itertools.permutations(range(len(x)), 4)
    return float(np.mean([d[i, j] * d[k, m] / 4 for i, j, k, m in fours]))


def within_class_variance(x: Array, labels: Labels) -> float:
    """By the covariance of what is left once each class has its mean removed."""
    classes = np.unique(labels)
    left = np.concatenate([x[labels == c] - x[labels == c].mean(0) for c in classes])
    within = (left**2).sum() / (len(x) - len(classes))
    return float(within / np.atleast_2d(np.cov(x.T)).trace())


def eigenspectrum(x: Array) -> Array:
    values = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2 / (len(x) - 1)
    return values[: min(len(x) - 1, x.shape[1])]


def gaussian_entropy(x: Array) -> float:
    covariance = ledoit_wolf(x)[0]
    return 0.5 * float(np.linalg.slogdet(2 * math.pi * math.e * covariance)[1])


def mutual_information(x: Array, snr: float = 4.0) -> dict[str, float]:
    n, p = x.shape
    d = squareform(pdist(x, "sqeuclidean"))
    covariance = np.atleast_2d(np.cov(x.T, bias=True))
    noise = np.trace(covariance) / snr
    kt, lower = (-float(np.mean(logsumexp(-d / (c * noise), axis=1) - math.log(n))) for c in (2, 8))
    gaussian = 0.5 * float(np.linalg.slogdet(np.eye(p) + covariance / noise)[1])
    smaller = min(kt, gaussian)
    return {
        "": smaller,
        "kt": kt,
        "lower": lower,
        "gaussian": gaussian,
        "saturated": float(smaller > 0.95 * math.log(n)),
    }


def pc1_binned(x: Array, y: Array, bins: int = 20) -> float:
    table = joint_histogram(x, y, bins)
    return plug_in_information(table) - expected_information(table)


def joint_histogram(x: Array, y: Array, bins: int) -> Array:
    """Counts (bins, bins) of the first principal components, by singular vectors."""
    a, b = (np.linalg.svd(z - z.mean(0), full_matrices=False)[0][:, 0] for z in (x, y))
    return np.histogram2d(a, b, bins)[0]


def plug_in_information(table: Array) -> float:
    joint = table / table.sum()
    independent = np.outer(joint.sum(1), joint.sum(0))
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def expected_information(table: Array) -> float:
    """The mean over all pairings: in each, a cell's count is hypergeometric."""
    n = int(table.sum())
    rows, columns = table.sum(1)[:, None, None], table.sum(0)[None, :, None]
    k = np.arange(1, n + 1)
    share = k / n * np.log(k * n / np.maximum(rows * columns, 1))
    return float((hypergeom.pmf(k, n, rows, columns) * share).sum())


def folds(n: int, labels: Labels | None) -> Labels:
    known = None if labels is None else labels.tolist()
    return np.array(folds_of(range(n), known))


def held_out(x: Array, y: Array, fold: Labels, penalty: float) -> Array:
    """scikit-learn's regressions, fitted once for every fold left out; by least squares for 0."""
    alpha = penalty * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    predicted = np.empty_like(y)
    for f in np.unique(fold):
        own = fold == f
        model = Ridge(alpha=alpha, solver="svd") if penalty else LinearRegression()
        model.fit(x[~own], y[~own])
        predicted[own] = model.predict(x[own]).reshape(y[own].shape)
    return predicted


def squared_errors(x: Array, y: Array, penalty: float = 0, labels: Labels | None = None) -> Array:
    predicted = held_out(x, y, folds(len(x), labels), penalty)
    errors: Array = ((y - predicted) ** 2).sum(axis=1)
    return errors


def ridge_r2(x: Array, y: Array, penalty: float = 0, labels: Labels | None = None) -> float:
    return 1 - float(squared_errors(x, y, penalty, labels).sum() / ((y - y.mean(0)) ** 2).sum())


def probe_scores(x: Array, labels: Labels, penalty: float = 0) -> Array:
    return held_out(x, np.eye(labels.max() + 1)[labels], folds(len(x), labels), penalty)


def probe_accuracy(x: Array, labels: Labels, penalty: float = 0) -> float:
    return float((probe_scores(x, labels, penalty).argmax(1) == labels).mean())


def f1_score(x: Array, labels: Labels, penalty: float = 0) -> float:
    predicted = probe_scores(x, labels, penalty).argmax(1)
    return float(sklearn_f1(labels, predicted, average="macro", zero_division=0))


def label_information(x: Array, labels: Labels, penalty: float = 0) -> float:
    fold, one_hot = folds(len(x), labels), np.eye(labels.max() + 1)[labels]
    counts = np.stack([one_hot[fold != f].sum(0) + 1 for f in fold])
    prior = counts / counts.sum(1, keepdims=True)
    return information(probe_scores(x, labels, penalty), prior, labels)


def information(scores: Array, prior: Array, labels: Labels) -> float:
    """What scores and frequencies (n, C) tell, the sharpness chosen on four of five folds."""
    fold, sharpness = folds(len(labels), labels), np.array(SHARPNESS)[:, None]
    nats = np.zeros((5, len(SHARPNESS)))
    for s, p, y, f in zip(np.clip(scores, 0, 1), prior, labels, fold, strict=True):
        nats[f] -= log_softmax(np.log(p) + sharpness * (s - p), axis=1)[:, y]
    others = [np.delete(nats, f, axis=0).sum(0) for f in range(5)]
    best = [np.flatnonzero(o - o.min() <= 1e-9 * len(labels))[0] for o in others]
    return float(sum(nats[f, 0] - nats[f, best[f]] for f in range(5)) / len(labels))
