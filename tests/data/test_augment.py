"""Augmentations: each word varies what it names, within its range, the same for the same seed."""
import numpy as np
import pytest
import tensorflow as tf

from leanood.data import augment

GREY = np.full((64, 16, 20, 3), 0.5, np.float32)
PICTURE = np.random.default_rng(0).random((8, 16, 20, 3), dtype=np.float32)


def applied(words, frames, seed=(3, 4)):
    return augment.by_words(words)(tf.constant(frames), tf.constant(seed, tf.int64)).numpy()


@pytest.mark.parametrize("word", augment.WORDS)
def test_same_seed_same_frames_and_another_seed_others(word):
    frames = np.tile(PICTURE, (4, 1, 1, 1))
    np.testing.assert_array_equal(applied([word], frames), applied([word], frames))
    assert (applied([word], frames) != applied([word], frames, (3, 5))).any()
    assert applied([word], frames).shape == frames.shape


def test_light_is_one_gain_a_frame():
    gain = applied(["light"], GREY) / GREY
    assert np.ptp(gain, axis=(1, 2, 3)).max() < 1e-6
    assert 1 - augment.LIGHT <= gain.min() < 0.7 < 1.3 < gain.max() <= 1 + augment.LIGHT


def test_colour_is_one_gain_a_channel():
    gain = applied(["colour"], GREY) / GREY
    assert np.ptp(gain, axis=(1, 2)).max() < 1e-6
    assert np.corrcoef(gain[:, 0, 0].T)[0, 1] < 0.5
    assert gain.min() >= 1 - augment.COLOUR - 1e-6


def test_flip_mirrors_some_and_leaves_the_others():
    same = [np.array_equal(a, b) for a, b in zip(applied(["flip"], PICTURE), PICTURE)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(applied(["flip"], PICTURE), PICTURE)]
    assert all(a or b for a, b in zip(same, mirrored))
    assert any(same)
    assert any(mirrored)


def test_rain_and_benign_changes_stay_small():
    assert 0 < np.abs(applied(["benign"], GREY) - GREY).mean() < 0.03
    assert 0 < np.abs(applied(["rain"], GREY) - GREY).mean() < 0.1


def test_words_join_and_stay_frames():
    frames = applied(augment.WORDS, PICTURE)
    assert frames.min() >= 0
    assert frames.max() <= 1


@pytest.mark.parametrize("words", [["fire"], []])
def test_refuses_other_words(words):
    with pytest.raises(ValueError, match="but should be words of light, colour, rain, flip, benign"):
        augment.by_words(words)
