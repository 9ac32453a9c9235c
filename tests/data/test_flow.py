"""Optical flow as stacks: its sign and scale, the ring, gaps, and that host and device compute the same bytes."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from leanood.data import decoder, flow, frames

SETTINGS = flow.Settings()


def _texture(seed: int = 0, size: tuple = (160, 220)) -> np.ndarray:
    """A smooth random picture, uint8 [H, W, 3]."""
    grain = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    return cv2.GaussianBlur(grain, (0, 0), 2.5)


def _moving(count: int, across: int, down: int, seed: int = 0) -> list:
    """Frames [120, 160, 3] of a picture that moves right and down by so many pixels a frame."""
    picture = _texture(seed)
    return [np.ascontiguousarray(picture[20 - down * t:140 - down * t, 30 - across * t:190 - across * t])
            for t in range(count)]


@pytest.mark.parametrize("method", flow.METHODS)
def test_a_picture_that_moves_gives_its_speed_in_pixels(method):
    settings = flow.Settings(method=method)
    computing = flow.Flow(settings)
    before, after = (computing.prepare(frame) for frame in _moving(2, 2, -1))
    pixels = flow.to_pixels(computing.between(before, after), settings)
    assert np.median(pixels[:113]) == pytest.approx(2.0, abs=0.3)
    assert np.median(pixels[113:]) == pytest.approx(-1.0, abs=0.3)


def test_bytes_are_the_published_scaling_of_the_crop():
    settings = flow.Settings(reach=64.0, method="farneback")
    computing = flow.Flow(settings)
    before, after = (computing.prepare(frame) for frame in _moving(2, 3, 2))
    raw = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 1, 15, 1, 5, 1.1, 0)
    crop = raw[3:116, 4:156]
    wanted = np.clip((crop + 64) / 128, 0, 1)
    result = computing.between(before, after) / 255
    assert result.shape == (226, 152)
    np.testing.assert_allclose(result[:113], wanted[..., 0], atol=0.51 / 255)
    np.testing.assert_allclose(result[113:], wanted[..., 1], atol=0.51 / 255)


def test_flow_beyond_the_reach_is_clipped():
    settings = flow.Settings(reach=1.0)
    computing = flow.Flow(settings)
    before, after = (computing.prepare(frame) for frame in _moving(2, 3, -3))
    result = computing.between(before, after)
    assert np.median(result[:113]) == 255
    assert np.median(result[113:]) == 0


def test_a_stack_holds_the_last_flows_the_newest_last():
    pictures = [_texture(seed, (120, 160)) for seed in range(10)]
    stacker, computing = flow.Stacker(SETTINGS), flow.Flow(SETTINGS)
    stacks = [stacker.push(picture) for picture in pictures]
    assert [stack is None for stack in stacks] == [True] * 6 + [False] * 4
    grey = [computing.prepare(picture) for picture in pictures]
    for end in range(6, 10):
        wanted = np.stack([computing.between(grey[i - 1], grey[i]) for i in range(end - 5, end + 1)], axis=-1)
        np.testing.assert_array_equal(stacks[end], wanted)
        assert stacks[end].flags.c_contiguous


@pytest.mark.parametrize("method", flow.METHODS)
def test_a_flow_depends_on_its_two_frames_alone(method):
    settings = flow.Settings(method=method)
    used = flow.Flow(settings)
    grey = [used.prepare(_texture(seed, (120, 160))) for seed in range(6)]
    for before, after in zip(grey, grey[1:]):
        np.testing.assert_array_equal(used.between(before, after), flow.Flow(settings).between(before, after))


def test_each_flow_is_computed_once(monkeypatch):
    calls = []
    between = flow.Flow.between
    monkeypatch.setattr(flow.Flow, "between", lambda self, a, b: calls.append(1) or between(self, a, b))
    stacker = flow.Stacker(SETTINGS)
    for frame in _moving(12, 1, 0):
        stacker.push(frame)
    assert len(calls) == 11


def test_a_gap_and_a_reset_begin_anew():
    stacker = flow.Stacker(SETTINGS)
    pictures = _moving(10, 1, 1) * 3
    there = [stacker.push(picture, gap=i == 8) is not None for i, picture in enumerate(pictures[:20])]
    assert there == [False] * 6 + [True] * 2 + [False] * 6 + [True] * 6
    stacker.reset()
    assert stacker.push(pictures[0]) is None
    # After a gap nothing of what was before it is left in the stack.
    fresh = flow.Stacker(SETTINGS)
    again = [fresh.push(picture) for picture in pictures[8:20]]
    other = flow.Stacker(SETTINGS)
    for picture in pictures[:8]:
        other.push(picture)
    for i, picture in enumerate(pictures[8:20]):
        stack = other.push(picture, gap=i == 0)
        assert (stack is None) == (again[i] is None)
        if stack is not None:
            np.testing.assert_array_equal(stack, again[i])


def test_frames_of_another_size_are_resized_as_everywhere():
    large = _texture(3, (240, 320))
    computing = flow.Flow(SETTINGS)
    np.testing.assert_array_equal(computing.prepare(large), computing.prepare(frames.resize(large, (120, 160))))


def test_settings_survive_json():
    settings = flow.Settings((90, 120), (80, 110), 4, 8.0, "farneback")
    assert flow.Settings.from_json(settings.to_json()) == settings
    assert settings.shape == (160, 110, 4)
    with pytest.raises(ValueError, match="incomplete or of a wrong type"):
        flow.Settings.from_json({"size": [120, 160]})


@pytest.mark.parametrize(("changes", "message"), [
    ({"crop": (121, 152)}, "no part of frames of 120x160"), ({"length": 0}, "at least one flow"),
    ({"reach": 0.0}, "must be positive"), ({"method": "tv-l1"}, "none of farneback, dis"),
    ({"size": (64, 80), "crop": (40, 40)}, "dis needs frames of at least 96 rows"),
    ({"size": (8, 8), "crop": (4, 4), "method": "farneback"}, "farneback needs frames of at least 16")])
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        flow.Settings(**changes)


def test_without_opencv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(decoder, "opencv", lambda: None)
    with pytest.raises(ValueError, match=r"pip install 'leanood\[video\]'"):
        flow.Stacker(SETTINGS)
