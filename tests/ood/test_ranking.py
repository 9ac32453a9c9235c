"""Ranking of latents, recomputed scene by scene."""
import re

import numpy as np
import pytest

from leanood.ood import ranking


def test_ranks_by_the_variance_across_scenes_of_the_mean_step():
    rng = np.random.default_rng(0)
    kl = rng.random((60, 4))
    starts = np.zeros(60, bool)
    starts[[0, 10, 11, 40]] = True  # the second scene has one frame: it says nothing
    scenes = [kl[0:10], kl[11:40], kl[40:60]]
    activity = [[np.mean([abs(scene[t, i] - scene[t - 1, i]) for t in range(1, len(scene))]) for i in range(4)]
                for scene in scenes]
    result = ranking.rank(kl, starts, by="scenes")
    np.testing.assert_allclose(result.value, np.var(activity, axis=0))
    assert result.order.tolist() == sorted(range(4), key=lambda i: -np.var(activity, axis=0)[i])
    assert (result.by, result.warning) == ("scenes", "")


def test_a_jump_between_scenes_does_not_count():
    kl = np.repeat([[0.0, 1.0], [100.0, 1.0], [0.0, 1.0]], 5, axis=0)
    kl[:5, 1] += 0.1 * (np.arange(5) % 2)
    result = ranking.rank(kl, np.arange(15) % 5 == 0, by="scenes")
    assert result.value[0] == 0
    assert result.order.tolist() == [1, 0]


@pytest.mark.parametrize(("starts", "message"), [
    (None, "the images are unordered"),
    (np.ones(6, bool), r"0 scene\(s\) have two or more frames"),
    (np.arange(6) == 0, r"1 scene\(s\) have two or more frames"),
])
def test_falls_back_to_the_variance_of_kl_and_says_so(starts, message):
    kl = np.random.default_rng(0).random((6, 3))
    result = ranking.rank(kl, starts, by="scenes")
    np.testing.assert_allclose(result.value, kl.var(axis=0))
    assert result.by == "variance"
    assert re.search(message, result.warning)


def test_by_the_mean_what_training_made_vary_ranks_above_content_that_varies_more():
    random = np.random.default_rng(2)
    content = 0.5 * random.normal(0.0, 1.2, 400) ** 2
    light = 0.5 * random.normal(1.6, 0.1, 400) ** 2  # far from the prior's mean on all frames, which are alike in it
    kl = np.stack([content, light], axis=1)
    assert ranking.rank(kl).order.tolist() == [0, 1]
    result = ranking.rank(kl, by="mean")
    assert result.order.tolist() == [1, 0]
    np.testing.assert_allclose(result.value, [content.mean(), light.mean()])
    assert (result.by, result.warning) == ("mean", "")


def test_by_default_a_slow_factor_ranks_above_fast_content():
    frames = np.arange(400)
    slow, fast = np.sin(frames / 60), 0.2 * (-1.0) ** frames * (frames < 200)
    kl = np.stack([fast, slow, np.zeros(400)], axis=1)
    starts = frames % 100 == 0
    result = ranking.rank(kl, starts)
    np.testing.assert_allclose(result.value, kl.var(axis=0))
    assert (result.order.tolist(), result.by, result.warning) == ([1, 0, 2], "variance", "")
    assert ranking.rank(kl, starts, by="scenes").order.tolist() == [0, 1, 2]


def test_refuses_an_unknown_ranking():
    with pytest.raises(ValueError, match="latents can be ranked by variance, mean, scenes, not by 'luck'"):
        ranking.rank(np.zeros((3, 2)), by="luck")


def test_refuses_frames_that_cannot_be_ranked():
    with pytest.raises(ValueError, match="NaN or infinite"):
        ranking.rank(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="at least one frame"):
        ranking.rank(np.empty((0, 3)))
    with pytest.raises(ValueError, match="one flag a frame"):
        ranking.rank(np.zeros((3, 2)), np.ones(2, bool), by="scenes")
