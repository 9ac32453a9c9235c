"""Which latents tell most about a partition: those whose KL varies most over its in-distribution frames.

The published ranking is by scenes: per scene s_i = mean_t |KL_i(t) − KL_i(t−1)|, and latents are ranked by the variance
of s_i across the partition's scenes (Ramakrishna et al., arXiv 2108.11800). At 20 frames a second it finds what moves
fast, content, and not what changes slowly, such as light; so it is there by name, and the variance of KL_i the default.
Where light hardly varies in the frames, but was made to vary in training (`train --augment=light`), the latent that
follows it has little variance on them, and yet the most nats: the mean of KL_i is what a latent tells of frames on
average (Burgess et al., "Understanding disentangling in β-VAE", arXiv 1804.03599, on KL as a channel's capacity).
"""
from __future__ import annotations

import dataclasses
from typing import Optional

import numpy as np

BY = ("variance", "mean", "scenes")


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A partition's latents, the most telling first."""
    order: np.ndarray  # latent indices, int64 [Z]
    value: np.ndarray  # what they were ranked by, of latent 0, 1, …, float64 [Z]
    by: str  # one of BY
    warning: str  # one sentence where the ranking fell back, else empty


def rank(kl: np.ndarray, starts: Optional[np.ndarray] = None, by: str = "variance") -> Ranking:
    """Returns the ranking of one partition's latents.

    Args:
      kl: KL per latent of in-distribution frames, [N, Z], finite; frames of a scene are consecutive.
      starts: bool [N], true on the first frame of each scene; None for unordered images.
      by: "variance" or "mean", of each latent's KL; or "scenes", the published ranking, which unordered images can't
        have: they fall back to the variance.
    """
    kl = np.asarray(kl, dtype=np.float64)
    if kl.ndim != 2 or not kl.size:
        raise ValueError(f"ranking needs the KL per latent of at least one frame, [N, Z], not {list(kl.shape)}")
    if not np.isfinite(kl).all():
        raise ValueError("the KL of some frames is NaN or infinite; rank latents on frames that the encoder can encode")
    if by == "variance":
        return _ranking(kl.var(axis=0), "variance", "")
    if by == "mean":
        return _ranking(kl.mean(axis=0), "mean", "")
    if by != "scenes":
        raise ValueError(f"latents can be ranked by {', '.join(BY)}, not by {by!r}")
    activity = _activity(kl, starts)
    if len(activity) >= 2:
        return _ranking(activity.var(axis=0), "scenes", "")
    reason = "the images are unordered" if starts is None else f"{len(activity)} scene(s) have two or more frames"
    return _ranking(kl.var(axis=0), "variance",
                    f"latents are ranked by the variance of their KL: ranking by scenes needs two scenes, and {reason}")


def _ranking(value: np.ndarray, by: str, warning: str) -> Ranking:
    return Ranking(order=np.argsort(-value, kind="stable"), value=value, by=by, warning=warning)


def _activity(kl: np.ndarray, starts: Optional[np.ndarray]) -> np.ndarray:
    """Returns s_i of each scene with two or more frames, [scenes, Z]."""
    if starts is None:
        return np.empty((0, kl.shape[1]))
    starts = np.asarray(starts, dtype=bool)
    if starts.shape != (len(kl),):
        raise ValueError(f"starts must hold one flag a frame: {starts.shape} for {len(kl)} frames")
    scene = np.cumsum(starts[1:])  # of the steps between frames; a step onto a first frame belongs to no scene
    inside = ~starts[1:]
    steps = np.abs(np.diff(kl, axis=0))[inside]
    _, scene, count = np.unique(scene[inside], return_inverse=True, return_counts=True)
    total = np.zeros((len(count), kl.shape[1]))
    np.add.at(total, scene, steps)
    return total / count[:, None]
