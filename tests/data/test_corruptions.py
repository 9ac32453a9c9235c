"""Corruptions: levels that mean what they say, deterministic by seed, moving or staying with time, inputs untouched."""
import itertools

import cv2
import numpy as np
import pytest

from leanood.data import corruptions, lanes, sensor, weather

MOVING = ("rain", "snow", "fog", "night", "glare", "motion_blur", "noise")
STILL = ("darker", "brighter", "occlusion", "dead_pixels", "dead_columns", "frozen")


@pytest.fixture(scope="module")
def frame():
    return lanes.Lanes(3).frame(2)


def _grey(level, size=(120, 160)):
    return np.full(size + (3,), level, np.uint8)


@pytest.mark.parametrize("name", corruptions.NAMES)
@pytest.mark.parametrize("severity", corruptions.SEVERITIES)
def test_every_corruption_is_deterministic_and_pure(frame, name, severity):
    frozen = frame.copy()
    frozen.setflags(write=False)
    out = getattr(corruptions, name)(frozen, severity, seed=5, time=9)
    assert out.dtype == np.uint8
    assert out.shape == frame.shape
    assert not np.shares_memory(out, frozen)
    np.testing.assert_array_equal(out, corruptions.corrupt(name, frame, severity, 5, 9))
    level = getattr(corruptions, f"{name}_level")
    np.testing.assert_array_equal(out, level(frame, corruptions.LEVELS[name][severity - 1], 5, 9))


@pytest.mark.parametrize("name", [name for name in corruptions.NAMES if name != "frozen"])
def test_a_higher_severity_changes_more(frame, name):
    change = [np.abs(corruptions.corrupt(name, frame, s, 1, 4).astype(int) - frame).mean() for s in range(1, 6)]
    assert change[0] > 0
    assert all(a < b for a, b in itertools.pairwise(change)), change


@pytest.mark.parametrize("name", corruptions.NAMES)
@pytest.mark.parametrize("size", [(7, 5), (32, 32), (48, 200), (240, 320)])
def test_every_size_works(name, size):
    for severity in (1, 5):
        assert corruptions.corrupt(name, _grey(90, size), severity, 2, 3).shape == size + (3,)


@pytest.mark.parametrize("name", MOVING)
def test_what_should_move_moves(frame, name):
    assert (corruptions.corrupt(name, frame, 3, 0, 1) != corruptions.corrupt(name, frame, 3, 0, 2)).any()


@pytest.mark.parametrize("name", STILL)
def test_what_should_stay_stays(frame, name):
    np.testing.assert_array_equal(corruptions.corrupt(name, frame, 3, 0, 1), corruptions.corrupt(name, frame, 3, 0, 2))


@pytest.mark.parametrize("name", ["rain", "snow", "fog", "glare", "noise", "occlusion", "dead_pixels", "dead_columns"])
def test_another_seed_is_another_corruption(frame, name):
    assert (corruptions.corrupt(name, frame, 3, 0) != corruptions.corrupt(name, frame, 3, 1)).any()


@pytest.mark.parametrize("level", [-1.0, -0.6, -0.2, 0.0, 0.3, 0.5, 1.5])
def test_brightness_scales_the_hsv_value(level):
    random = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    hsv = cv2.cvtColor(random.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.minimum(hsv[..., 2] * (1 + level), 1.0)
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255
    assert np.abs(corruptions.brightness_level(random, level) - expected).max() < 0.6


def test_the_papers_levels_are_among_the_severities():
    assert -0.6 in corruptions.LEVELS["darker"]
    assert 0.01 in corruptions.LEVELS["rain"]
    assert all(len(levels) == 5 for levels in corruptions.LEVELS.values())


def test_docstrings_name_the_levels():
    for name, levels in corruptions.LEVELS.items():
        if name != "frozen":
            text = getattr(corruptions, name).__doc__
            assert all(f"{level:g}" in text for level in levels), name


def test_rain_has_its_density_of_streaks_and_they_fall():
    dark = _grey(0)
    for level in (0.002, 0.01):
        lit = (weather.rain(dark, level, seed=1, time=5)[..., 0] > 0).mean()
        assert 0.6 * level * 10 < lit <= level * 10  # a streak is ten pixels long; some overlap
    assert not weather.rain(dark, 0.0, 1, 5).any()
    # The first drops of a heavier rain are those of a lighter one.
    light, heavy = (weather.rain(dark, level, 1, 5) > 0 for level in (0.002, 0.004))
    assert (heavy[light]).mean() > 0.99


def test_snow_sinks_slowly():
    dark = _grey(0)
    first, second = (weather.snow(dark, 0.004, seed=1, time=t)[..., 0].astype(float) for t in (0, 1))
    shifts = {dy: (first[:100] * np.roll(second, -dy, axis=0)[:100]).sum() for dy in range(-12, 13)}
    assert 2 <= max(shifts, key=shifts.get) <= 10  # 3% to 8% of 120 rows a frame


@pytest.mark.parametrize("name", ["rain", "snow"])
def test_however_wide_a_frame_it_has_weather(name):
    strip = np.full((1, 800, 3), 60, np.uint8)  # 115,200 drops by its shape
    assert corruptions.corrupt(name, strip, 5).mean() > 60


def test_rain_looks_alike_at_every_size():
    small = cv2.resize(weather.rain(_grey(0, (240, 320)), 0.006, 1, 5), (160, 120), interpolation=cv2.INTER_AREA)
    assert small.mean() == pytest.approx(weather.rain(_grey(0), 0.006, 1, 5).mean(), rel=0.2)


def test_fog_hides_the_far_more_than_the_near():
    fogged = weather.fog(_grey(20), 0.2, seed=0, time=0).mean(axis=(1, 2))
    assert fogged[50] > fogged[80] > fogged[115] > 20
    assert weather.fog(_grey(20), 50.0).min() >= 199


@pytest.mark.parametrize("level", [0.05, 0.2, 0.45, 0.6])
@pytest.mark.parametrize("seed", range(4))
def test_occlusion_covers_its_share(level, seed):
    covered = (sensor.occlusion(_grey(255), level, seed)[..., 0] < 150).mean()
    assert covered == pytest.approx(level, abs=0.015)


def test_dead_pixels_and_columns_are_counted():
    pixels = sensor.dead_pixels(_grey(90), 0.01, 4)
    assert ((pixels != 90).all(axis=-1)).sum() == round(0.01 * 120 * 160)
    columns = sensor.dead_columns(_grey(90), 0.05, 4)
    assert (columns != 90).all(axis=(0, 2)).sum() == 8
    assert (sensor.dead_columns(_grey(90, (8, 8)), 0.01, 4) != 90).any(axis=(0, 2)).sum() == 1
    assert set(np.unique(columns)) <= {0, 90, 255}


def test_noise_has_its_deviation():
    assert (sensor.noise(_grey(128), 0.08, 1, 2) - 128.0).std() == pytest.approx(0.08 * 255, rel=0.02)


def test_motion_blur_keeps_the_mean_and_smears_across():
    line = _grey(0)
    line[:, 80] = 255
    blurred = sensor.motion_blur(line, 0.1, 0, 0)
    assert blurred.mean() == pytest.approx(line.mean(), rel=0.05)
    assert 12 <= (blurred[60, :, 0] > 0).sum() <= 18  # 16 pixels, up to 20 degrees aslant
    np.testing.assert_array_equal(sensor.motion_blur(line, 0.0), line)


def test_a_frozen_camera_shows_a_frame_for_as_long_as_it_hangs():
    sequence = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((2, 2, 3), np.uint8)
    assert (corruptions.corrupt_sequence("frozen", sequence, 5) == 0).all()
    assert corruptions.corrupt_sequence("frozen", sequence, 1)[:, 0, 0, 0].tolist() == [t - t % 20 for t in range(100)]
    assert corruptions.corrupt_sequence("frozen", sequence[:0], 5).shape == (0, 2, 2, 3)


def test_a_sequence_is_its_frames_at_their_times(frame):
    sequence = np.stack([frame, frame, frame])
    out = corruptions.corrupt_sequence("rain", sequence, 4, seed=2)
    for t in range(3):
        np.testing.assert_array_equal(out[t], corruptions.rain(frame, 4, 2, t))


@pytest.mark.parametrize(("call", "reason"), [
    (lambda f: corruptions.corrupt("hail", f, 1), "'hail' is none of darker, brighter, rain"),
    (lambda f: corruptions.corrupt("rain", f, 6), "severity: 6 is none of 1, 2, 3, 4, 5"),
    (lambda f: corruptions.corrupt("rain", f, 2.5), "severity: 2.5 is none of"),
    (lambda f: corruptions.rain_level(f, 0.5), "density of 0.5"),
    (lambda f: corruptions.brightness_level(f, -1.5), "-1.5 is below -1"),
    (lambda f: corruptions.night_level(f, 2), "2 is not within"),
    (lambda f: corruptions.fog_level(f, -1), "-1 is negative"),
    (lambda f: corruptions.occlusion_level(f, 0.9), "0.9 is not within"),
    (lambda f: corruptions.frozen_source(3, 0), "cannot hang for 0 frames"),
    (lambda f: corruptions.fog(f[0], 1), r"its shape is \[160, 3\]"),
])
def test_mistakes_are_named(frame, call, reason):
    with pytest.raises(ValueError, match=reason):
        call(frame)


def test_in_distribution_levels_are_told():
    assert corruptions.is_in_distribution("rain", 0.002)
    assert not corruptions.is_in_distribution("rain", 0.004)
    assert corruptions.is_in_distribution("darker", -0.4)
    assert not corruptions.is_in_distribution("darker", -0.6)
    assert not corruptions.is_in_distribution("fog", 0.0)
