"""Groups left out in turn: no frame is judged by its own group, and new groups look like the left-out ones."""
import types

import numpy as np
import pytest

from leanood.ood import events, evidence, left_out, nonconformity, scale_thresholds


class Distance(nonconformity.Nonconformity):
    """How far `x` is from the mean of what was fitted; remembers what that was."""

    name, inputs, partitions = "distance", ("x",), ("all",)

    def __init__(self, x):
        self.x, self.mean = x, x.mean(axis=0)

    def score(self, outputs, starts=None):
        return np.abs(outputs["x"] - self.mean).sum(axis=1)[:, np.newaxis]


def recordings(count, frames, seed, spread=0.7):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal(rng.normal(0, spread, 2), 1, (frames, 2)) for _ in range(count)])
    return x, np.repeat(np.arange(count), frames)


@pytest.mark.parametrize("count", [6, 23])
def test_a_frame_is_judged_by_the_others_alone(count):
    x, groups = recordings(count, 30, 0)
    fitted = np.arange(len(x)) < 100
    fits = []

    def fit(where):
        assert fitted[where].all()
        fits.append(where)
        return Distance(x[where])

    judged = left_out.judge(fit, {"x": x}, fitted, groups, starts=np.arange(len(x)) % 90 == 0)
    assert len(fits) <= 1 + left_out.FOLDS
    np.testing.assert_array_equal(fits[0], np.arange(100))
    # By another road: the first group's nonconformity and rank.
    others = groups > (0 if count == 6 else 2)  # of 23 groups, three in the first fold
    mean = x[others & fitted].mean(axis=0)
    np.testing.assert_allclose(judged.nonconformity[groups == 0], np.abs(x[groups == 0] - mean).sum(axis=1))
    table = np.sort(judged.nonconformity[others])
    above = np.array([(table > alpha).sum() for alpha in judged.nonconformity[groups == 0]])
    assert (judged.p_value[groups == 0] >= above / (len(table) + 1)).all()
    assert (judged.p_value[groups == 0] <= (above + 1) / (len(table) + 1)).all()
    assert judged.starts[::30].all()
    np.testing.assert_array_equal(np.sort(judged.nonconformity), judged.detector._tables[0])


def test_new_groups_look_like_left_out_ones():
    left, new, flattered = [], [], []
    for seed in range(12):
        x, groups = recordings(16, 60, seed)
        known = groups < 10
        judged = left_out.judge(lambda where, x=x: Distance(x[where]), {"x": x[known]}, np.ones(known.sum(), bool),
                                groups[known], window=0)
        left.append(-np.log(judged.p_value).mean())
        new.append(-np.log(judged.detector.run({"x": x[~known]}, None)["p_value"]).mean())
        measure = Distance(x[known])
        flattered.append(measure.score({"x": x[~known]}).mean() / measure.score({"x": x[known]}).mean())
    assert np.mean(left) == pytest.approx(1.0, abs=0.1)  # −ln p of a uniform p-value
    assert np.mean(new) == pytest.approx(np.mean(left), abs=0.12)
    assert np.mean(flattered) > 1.01


def test_what_cannot_be_left_out_is_refused():
    x, groups = recordings(3, 10, 0)
    with pytest.raises(ValueError, match="takes two groups"):
        left_out.judge(lambda where: Distance(x[where]), {"x": x}, np.ones(30, bool), np.zeros(30))
    with pytest.raises(ValueError, match="all training frames are of one group"):
        left_out.judge(lambda where: Distance(x[where]), {"x": x}, groups == 0, groups)
    x[7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite on 1 of 30"):
        left_out.judge(lambda where: Distance(x[where]), {"x": x}, np.ones(30, bool), groups)


def _verdicts(each, starts):
    p, judge = np.exp(-each), types.SimpleNamespace(nonconformity=nonconformity.Nonconformity)
    return left_out.LeftOut(judge, each, p, np.zeros(len(p)), starts)


def test_what_is_shorter_than_a_window_counts_as_if_it_went_on():
    each = np.random.default_rng(2).exponential(size=60 + 200 + 7)
    starts = np.isin(np.arange(len(each)), (0, 60, 260))
    padded = evidence.scaled(each, starts)
    scaled = left_out.scaled(_verdicts(each, starts))
    np.testing.assert_array_equal(scaled, padded)  # most of the driving is in a recording as long as any window
    short = left_out.scaled(_verdicts(each[:67], np.isin(np.arange(67), (0, 60))))
    expected = padded[:, :67].copy()
    expected[4, 59] = min(each[:60].mean(), each[55:60].mean())  # 80 frames
    expected[5, 59] = min(each[:60].mean(), each[50:60].mean())  # 160; seven frames are too few
    np.testing.assert_allclose(short, expected, rtol=1e-5)
    recorded = np.arange(len(each)) < 60  # the long one is a variant
    np.testing.assert_allclose(left_out.scaled(_verdicts(each, starts), recorded=recorded)[:, 59], expected[:, 59],
                               rtol=1e-5)


def test_the_nonconformitys_share_of_a_window_has_to_agree(monkeypatch):
    each, starts = np.random.default_rng(3).exponential(size=300), np.arange(300) == 0
    monkeypatch.setattr(nonconformity.Nonconformity, "share", 8)
    np.testing.assert_array_equal(left_out.scaled(_verdicts(each, starts)), evidence.scaled(
        each, starts, latest=[1, 2, 3, 5, 10, 20]))


def test_thresholds_of_short_recordings_hold_on_a_long_drive():
    random = np.random.default_rng(4)
    each, groups = random.exponential(size=60 * 240), np.repeat(np.arange(12), 60 * 20)
    starts = np.arange(len(each)) % 60 == 0
    drive, first = random.exponential(size=20 * 3600 * 10), np.arange(20 * 3600 * 10) == 0

    def an_hour(scaled):
        tau = np.array(scale_thresholds.choose(scaled, starts, groups, 20.0, 3.0).values)[:, np.newaxis]
        return events.crossings((evidence.scaled(drive, first) > tau).any(axis=0), first).sum() / 10

    assert an_hour(left_out.scaled(_verdicts(each, starts))) <= 6
    assert an_hour(evidence.scaled(each, starts)) > 12  # as if the frames before each had been ordinary
