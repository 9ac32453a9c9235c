"""Changes of motion: what was recorded before the onset stays, and after it the flow is what the level says."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from leanood.data import flow, motion

_PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (160, 700, 3)).astype(np.uint8), (0, 0), 3)


def _read(i: int) -> np.ndarray:
    """A camera that pans by two pixels a frame: the picture moves left."""
    return np.ascontiguousarray(_PICTURE[20:140, 200 + 2 * i:360 + 2 * i])


def _across(frames: np.ndarray) -> np.ndarray:
    """Median horizontal flow, pixels, before each frame but the first."""
    settings = flow.Settings()
    computing = flow.Flow(settings)
    grey = [computing.prepare(frame) for frame in frames]
    flows = [computing.between(before, after) for before, after in zip(grey, grey[1:])]
    return np.array([np.median(flow.to_pixels(field, settings)[:113]) for field in flows])


@pytest.mark.parametrize("name", motion.NAMES)
def test_before_the_onset_nothing_changes(name):
    changed = motion.apply(name, _read, 10, 20, severity=3)
    assert changed.shape == (20, 120, 160, 3)
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed[:10], np.stack([_read(i) for i in range(10)]))
    assert not np.array_equal(changed[10:], np.stack([_read(i) for i in range(10, 20)]))


@pytest.mark.parametrize(("name", "severity", "expected"), [
    ("reversed", 3, 2.0), ("faster", 2, -3.0), ("faster", 3, -4.0), ("slower", 3, -1.0), ("frozen", 5, 0.0)])
def test_playback_has_the_speed_of_its_level(name, severity, expected):
    moved = _across(motion.apply(name, _read, 8, 20, severity=severity))
    np.testing.assert_allclose(moved[:7], -2.0, atol=0.3)
    np.testing.assert_allclose(moved[9:], expected, atol=0.35)


def test_drift_adds_its_speed():
    moved = _across(motion.apply("drift", _read, 8, 20, severity=3))  # 0.0125 of 160 pixels
    np.testing.assert_allclose(moved[9:], 0.0, atol=0.35)


def test_shake_is_seeded():
    first, same, other = (motion.apply("shake", _read, 5, 10, severity=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_an_object_covers_its_share_and_moves():
    still = lambda i: np.zeros((120, 160, 3), np.uint8)  # noqa: E731
    changed = motion.apply("object", still, 0, 30, severity=3, seed=4)
    covered = (changed.max(axis=-1) > 0).mean(axis=(1, 2))
    np.testing.assert_allclose(covered, 0.04, atol=0.006)
    places = [np.nonzero(frame.max(axis=(0, 2)))[0].mean() for frame in changed]
    np.testing.assert_allclose(np.abs(np.diff(places)).max(), 3.2, atol=1.0)


@pytest.mark.parametrize("name", motion.NAMES)
def test_it_reads_what_it_says(name):
    read = []
    motion.apply(name, lambda i: read.append(i) or _read(i), 10, 20, severity=3)
    first, last = motion.span(name, 10, 20, severity=3)
    assert first <= min(read)
    assert max(read) <= last + 1


def test_unknown_names_and_severities_are_refused():
    with pytest.raises(ValueError, match="'spin' is none of reversed, slower"):
        motion.level_of("spin", 3)
    with pytest.raises(ValueError, match="severity: 6 is none of"):
        motion.level_of("shake", 6)
    with pytest.raises(ValueError, match="onset: 21 is not within the 20 frames"):
        motion.apply("shake", _read, 21, 20, severity=3)
