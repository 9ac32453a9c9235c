"""Procedural scenes: any frame by its number, continuous in time, lines where they should be, factors in range."""
import collections

import numpy as np
import pytest

from leanood.data import catalog, frames, lanes, road


def test_a_frame_is_a_function_of_seed_and_number():
    stream = lanes.Lanes(7)
    later = stream.frame(5000)
    block = stream.frames(4990, 20)
    np.testing.assert_array_equal(block[10], later)
    np.testing.assert_array_equal(lanes.Lanes(7).frame(5000), later)
    assert (lanes.Lanes(8).frame(5000) != later).any()
    assert (lanes.Lanes(7, world=1).frame(5000) != later).any()
    assert later.dtype == np.uint8
    assert later.shape == (120, 160, 3)


def test_scenes_are_200_to_600_frames_long_and_take_turns():
    stream = lanes.Lanes(1)
    scenes = stream.scenes(0, 40000)
    lengths = np.bincount(scenes)
    assert (np.diff(scenes) >= 0).all()
    assert (np.diff(scenes) <= 1).all()
    assert 200 <= lengths[:-1].min() < 300
    assert 500 < lengths.max() <= 600
    assert [stream.kind(scene) for scene in range(3)] == ["brightness", "rain", "brightness"]
    for i in (0, 799, 800, 12345):
        scene, time = stream.place(i)
        assert scenes[i] == scene
        assert time == i - np.searchsorted(scenes, scene)


def test_factors_wander_smoothly_through_their_ranges():
    stream = lanes.Lanes(0)
    levels = collections.defaultdict(list)
    for i in range(12000):
        levels[stream.kind(stream.place(i)[0])].append(stream.level(i))
    brightness, rain = np.array(levels["brightness"]), np.array(levels["rain"])
    assert -0.5 <= brightness.min() < -0.48
    assert 0.48 < brightness.max() <= 0.5
    assert 0.0 <= rain.min() < 0.0001
    assert 0.0029 < rain.max() <= 0.003
    within = stream.scenes(0, 12000)[1:] == stream.scenes(0, 12000)[:-1]
    steps = np.abs(np.diff([stream.level(i) for i in range(12000)]))[within]
    assert steps.max() < 0.04  # of a range of 1


def test_neighbouring_frames_are_alike_and_distant_ones_are_not():
    drive = road.Road((0, 1), (120, 160))
    sequence = np.stack([drive.frame(t) for t in range(0, 200)]).astype(float)
    step = np.abs(np.diff(sequence, axis=0)).mean(axis=(1, 2, 3))
    far = np.abs(sequence[100:] - sequence[:100]).mean(axis=(1, 2, 3))
    assert step.max() < 3 * np.median(step)
    assert np.median(far) > 1.5 * np.median(step)


def test_a_straight_road_has_its_lines_where_geometry_puts_them():
    drive = road.Road((3, 3), (240, 320))
    drive._bends, drive._circuit = np.zeros(3), 0.0
    drive._wave = lambda *_: 0.0
    image = drive.frame(0).astype(int)
    for row in (130, 180, 235):
        below = row + 0.5 - 240 * road.HORIZON
        ahead = road.FOCAL_DOWN * 240 * road.CAMERA_HEIGHT / below
        column = 160 + 0.5 * road.FOCAL_ACROSS * 320 / ahead
        bright = image[row, 120:].sum(axis=-1)  # right of the yellow line
        width = road.WHITE_WIDTH * road.FOCAL_ACROSS * 320 / ahead
        if column < 315:
            assert abs(np.argmax(np.convolve(bright, np.ones(5), "same")) + 120 - column) <= 1 + width / 2
    left = image[100:, :150]
    yellow = (left[..., 0] > 1.8 * left[..., 2]) & (left[..., 0] > 120)
    rows = yellow.any(axis=1)
    assert rows.any()
    assert not rows.all()  # dashed
    assert np.count_nonzero(np.diff(rows.astype(int))) >= 4


def test_another_size_is_the_same_picture():
    large, small = (lanes.Lanes(2, size).frame(100) for size in ((240, 320), (60, 80)))
    assert np.abs(frames.resize(large, (60, 80)).astype(int) - small).mean() < 6
    assert lanes.Lanes(2, (64, 64)).frame(0).shape == (64, 64, 3)


def test_the_data_set_splits_whole_scenes_with_both_factors():
    data = catalog.open("lanes:frames=12000,seed=4")
    assert len(data) == 12000
    assert (data.partition_kind, data.fps) == ("factor", 20.0)
    assert set(zip(data.partition.tolist(), data.split.tolist())) == {
        (kind, split) for kind in lanes.KINDS for split in ("train", "calibration", "validation", "test")}
    for scene in np.unique(data.sequence):
        assert len(set(data.split[data.sequence == scene])) == 1
    np.testing.assert_array_equal(data.read(777), lanes.Lanes(4).frame(777))
    assert not data.ood.any()


@pytest.mark.parametrize("count", [400, 1000, 3000])
def test_small_streams_have_all_splits_too(count):
    data = catalog.open(f"lanes:frames={count}")
    assert len(set(zip(data.partition.tolist(), data.split.tolist()))) == 8


def test_a_stream_goes_on_where_another_ended():
    whole = catalog.open("lanes:frames=300,scene=400,start=9000")
    np.testing.assert_array_equal(whole.read(5), lanes.Lanes(0).frame(9005))
    assert whole.names[5].endswith("/0009005")


def test_an_hour_is_opened_at_once_and_loaded_in_parts():
    data = catalog.open("lanes:frames=72000,seed=1,size=48x64")
    assert len(data) == 72000
    part, readable, bad = data.where(np.arange(71000, 71040)).load((24, 32))
    assert part.shape == (40, 24, 32, 3)
    assert not bad
    np.testing.assert_array_equal(part[7], frames.resize(lanes.Lanes(1, (48, 64)).frame(71007), (24, 32)))


@pytest.mark.parametrize(("spec", "reason"), [
    ("lanes:frame=3", "'frame=3' is no option; there are frames, start, seed"),
    ("lanes:frames=many", "'frames=many' is no option"),
    ("lanes:size=120", "'size=120' is no option"),
    ("lanes:frames=0", "0 frames from 0 on"),
    ("lanes:size=4x4", "at least 2, at 16x16"),
    ("lanes:seed=-1", "neither may be negative"),
])
def test_mistakes_are_named(spec, reason):
    with pytest.raises(ValueError, match=f"{reason}"):
        catalog.open(spec)
