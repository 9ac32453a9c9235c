"""Benign changes: small, deterministic, pure; and the variants that detectors are fitted on."""
import numpy as np
import pytest

from leanood.data import benign, codecs, frames, lanes, resampling, tone, variants


@pytest.fixture(scope="module")
def frame():
    return lanes.Lanes(3).frame(2)


@pytest.mark.parametrize("name", benign.available())
def test_every_change_is_small_deterministic_and_pure(frame, name):
    frozen = frame.copy()
    frozen.setflags(write=False)
    out = benign.change(name, frozen, seed=5, time=9)
    assert out.dtype == np.uint8
    assert out.shape == frame.shape
    assert not np.shares_memory(out, frozen)
    np.testing.assert_array_equal(out, benign.change(name, frame, 5, 9))
    difference = np.abs(out.astype(int) - frame)
    assert 0 < difference.mean() < 8  # of 255: a shift by two pixels moves edges, all else is far less
    assert abs(out.mean() - frame.mean()) < 0.04 * frame.mean()


@pytest.mark.parametrize("name", benign.available())
def test_sequences_keep_their_frames_in_order(name):
    drive = lanes.Lanes(3).frames(0, 12)[::3]
    out = benign.change_sequence(name, drive, seed=1)
    assert out.shape == drive.shape
    assert out.dtype == np.uint8
    distance = np.abs(out[:, None].astype(int) - drive[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(len(drive)))


def test_a_sequence_is_its_frames_at_their_times():
    drive = lanes.Lanes(3).frames(0, 3)
    for name in ("noise_1", "auto_exposure", "yuv420"):
        expected = [benign.change(name, picture, 7, 20 + t) for t, picture in enumerate(drive)]
        np.testing.assert_array_equal(benign.change_sequence(name, drive, 7, start=20), expected)


@pytest.mark.parametrize("size", [(17, 33), (32, 32), (48, 201)])
@pytest.mark.parametrize("name", benign.available())
def test_odd_sizes_work(name, size):
    assert benign.change(name, np.full(size + (3,), 90, np.uint8)).shape == size + (3,)


def test_there_are_many_and_an_unknown_one_is_named(frame):
    assert len(benign.available()) >= 14
    assert set(benign.NAMES) - set(benign.available()) <= set(codecs.VIDEO)
    with pytest.raises(ValueError, match="benign change: 'fog' is none of yuv420"):
        benign.change("fog", frame)


def test_noise_has_its_deviation():
    grey = np.full((120, 160, 3), 128, np.uint8)
    for name, deviation in (("noise_0.5", 0.5), ("noise_1", 1.0), ("noise_1.5", 1.5)):
        measured = (benign.change(name, grey).astype(float) - 128).std()
        assert measured == pytest.approx(np.hypot(deviation, 12 ** -0.5), rel=0.05)  # rounding adds its own


def test_shifts_go_where_they_say(frame):
    np.testing.assert_array_equal(benign.change("right_1", frame)[:, 1:], frame[:, :-1])
    np.testing.assert_array_equal(benign.change("down_1", frame)[1:], frame[:-1])
    np.testing.assert_array_equal(benign.change("up_2_right_1", frame)[:-2, 1:], frame[2:, :-1])
    with pytest.raises(ValueError, match="further than a frame"):
        resampling.shifted(frame, 160, 0)


def test_tones_multiply(frame):
    dim = frame // 2
    np.testing.assert_array_equal(benign.change("exposure_1.03", dim), np.rint(dim * 1.03).astype(np.uint8))
    warm = benign.change("warmer_3_percent", dim)
    np.testing.assert_array_equal(warm[..., 0], np.rint(dim[..., 0] * 1.03).astype(np.uint8))
    np.testing.assert_array_equal(warm[..., 1], dim[..., 1])
    np.testing.assert_array_equal(benign.change("gamma_1.03", dim), np.rint(255 * (dim / 255) ** 1.03).astype(np.uint8))
    with pytest.raises(ValueError, match="none of them negative"):
        tone.white_balance(frame, (1, -1, 1))
    np.testing.assert_array_equal(tone.offset(frame, (-2.2, 0, 3)), np.clip(frame.astype(int) + (-2, 0, 3), 0, 255))
    with pytest.raises(ValueError, match="it takes three, for R, G and B"):
        tone.offset(frame, (1, 1))


def test_a_hunting_exposure_wanders_slowly_within_its_depth():
    grey = np.full((8, 8, 3), 200, np.uint8)
    gain = np.array([benign.change("auto_exposure", grey, 3, t).mean() for t in range(500)]) / 200
    assert 0.945 < gain.min() < 0.98 < 1.02 < gain.max() < 1.055
    assert np.abs(np.diff(gain)).max() < 0.01


def test_codecs_that_are_not_there_are_named(frame):
    with pytest.raises(ValueError, match="'divx' is none of mpeg4"):
        codecs.video(frame[None], "divx")
    if not codecs.writes("h264"):
        with pytest.raises(ValueError, match="writes no h264"):
            codecs.video(frame[None], "h264")
    with pytest.raises(ValueError, match="a JPEG's are 1 to 100"):
        codecs.jpeg(frame, 0)
    with pytest.raises(frames.FrameError):
        codecs.jpeg(frame[..., 0], 90)


def test_variants_are_small_and_of_many_kinds(frame):
    drawn = [variants.draw(seed) for seed in range(200)]
    assert variants.draw(3) == drawn[3]
    assert {chain.quality > 0 for chain in drawn} == {chain.noise > 0 for chain in drawn} == {True, False}
    subsampled = [chain for chain in drawn if chain.sampling == "4:2:0"]
    assert 0.65 < len(subsampled) / len(drawn) < 0.85
    assert {chain.picked for chain in subsampled} == {True, False}
    assert 0.4 < np.mean([chain.offset != (0, 0, 0) for chain in drawn]) < 0.6
    phases = {(chain.shift[0] % 8, chain.shift[1] % 8) for chain in drawn}
    assert len(phases) > 40  # of the 64 that an 8×8 grid has
    for seed, chain in enumerate(drawn[:40]):
        out = chain(frame, seed, 4)
        np.testing.assert_array_equal(out, chain(frame, seed, 4))
        assert out.shape == frame.shape
        assert out.mean() == pytest.approx(frame.mean(), rel=0.06)
    np.testing.assert_array_equal(variants.Chain()(frame), frame)
    assert variants.draw(1)(np.zeros((3, 3, 3), np.uint8)).shape == (3, 3, 3)
