"""VUS-PR: volume under the surface of precision, recall and the tolerance about a labelled range.

Paparrizos and others, Volume Under the Surface, PVLDB 15 (2022) 2774, as TSB-AD (Liu and Paparrizos, NeurIPS
2024) computes it. For each width w in 0..W the labels fall off on either side of a range like
sqrt(1 - distance / w) over w/2 points; precision and recall count those soft labels, recall also the share of
ranges touched; the average precision is taken over 250 thresholds, evenly spaced in rank,
and then the mean over w.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WIDTH = 100
"""Largest width W, in points. TSB-AD takes it from each series' period; here it is one number for all."""
THRESHOLDS = 250


def ranges(labels: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and last positions of the runs of True."""
    edges = np.diff(np.concatenate(([False], labels, [False])).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1


def vus_pr(labels: NDArray[np.bool_], scores: Array, width: int = WIDTH) -> float:
    """The figure for one series, labels and scores (T,); NaN if nothing is labelled."""
    first, last = ranges(labels)
    if not len(first):
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    thresholds = falling[np.linspace(0, len(scores) - 1, THRESHOLDS).astype(int)]
    # Everything from the threshold up is called abnormal, ties included.
    called = np.searchsorted(-falling, -thresholds, side="right")
    hits = np.cumsum(labels[order])[called - 1]
    distance = _distance(labels)
    volume = 0.0
    for w in range(width + 1):
        near = (distance > 0) & (distance <= w // 2)
        soft = np.where(near, np.sqrt(np.maximum(1.0 - distance / max(w, 1), 0.0)), 0.0)
        soft_hits = np.cumsum(soft[order])[called - 1]
        true = hits + soft_hits
        positives = labels.sum() + soft_hits / 2.0
        touched = (_peaks(scores, first, last, w // 2)[:, None] >= thresholds).mean(axis=0)
        recall = np.minimum(true / positives, 1.0) * touched
        volume += float(np.sum(np.diff(recall, prepend=0.0) * true / called))
    return volume / (width + 1)


def _distance(labels: NDArray[np.bool_]) -> Array:
    """Points to the nearest labelled one; 0 on it."""
    at = np.arange(len(labels))
    before = np.maximum.accumulate(np.where(labels, at, -np.inf))
    after = np.minimum.accumulate(np.where(labels, at, np.inf)[::-1])[::-1]
    return np.minimum(at - before, after - at)


def _peaks(scores: Array, first: NDArray[np.intp], last: NDArray[np.intp], margin: int) -> Array:
    """Highest score in each range, widened by `margin` on either side; ranges that then touch are one."""
    start, end = np.maximum(first - margin, 0), np.minimum(last + margin, len(scores) - 1)
    new = np.concatenate(([True], start[1:] > end[:-1]))
    begins, ends = start[new], end[np.concatenate((new[1:], [True]))]
    return np.array([scores[a : b + 1].max() for a, b in zip(begins, ends, strict=True)])
