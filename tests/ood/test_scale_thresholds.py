"""Thresholds for the next recording: the asked rate is kept on recordings to come, and what they rest on is said."""
import numpy as np
import pytest
from scipy import stats

from leanood.ood import events, evidence, scale_thresholds

FPS = 20.0


def drives(count, frames, seed, spread=0.0, smooth=1):
    """Evidence of drives [N] whose means differ, its starts, and each frame's drive."""
    rng = np.random.default_rng(seed)
    pieces = []
    for _ in range(count):
        e = rng.exponential(np.exp(rng.normal(0, spread)), frames + smooth - 1)
        pieces.append(np.convolve(e, np.ones(smooth) / smooth, "valid"))
    return np.concatenate(pieces), np.arange(count * frames) % frames == 0, np.repeat(np.arange(count), frames)


def told_and_seen(count, spread, windows=evidence.WINDOWS, asked=20.0):
    """False alarms an hour, told of drives left out and seen on as many drives to come, ten times, [10] each."""
    told, seen = [], []
    for seed in range(10):
        e, starts, groups = drives(2 * count, 1200, seed, spread, smooth=4)
        scaled, known = evidence.scaled(e, starts, windows), groups < count
        chosen = scale_thresholds.choose(
            scaled[:, known], starts[known], groups[known], FPS, asked, windows=windows)
        alarm = (scaled[:, ~known] > np.array(chosen.values)[:, None]).any(axis=0)
        seen.append(events.crossings(alarm, starts[~known]).sum() / chosen.hours)
        told.append(chosen.left_out.per_hour)
    return np.array(told), np.array(seen)


@pytest.mark.parametrize("window", [5, 20, 160])
def test_a_scale_raises_what_was_asked_on_drives_like_the_known(window):
    seen = told_and_seen(16, 0.0, (window,))[1]
    error = seen.std(ddof=1) / np.sqrt(len(seen))
    assert seen.mean() <= 20.0 + 3 * error  # on average over what is known, the predictive law gives the rate itself
    assert seen.mean() >= 20.0 / 3 - 3 * error


@pytest.mark.parametrize(("count", "spread"), [(8, 0.0), (8, 0.1), (12, 0.3)])
def test_what_is_told_of_drives_left_out_is_what_drives_to_come_do(count, spread):
    """Whatever their law: a drive left out is as good as a new one, and was judged by one drive fewer."""
    told, seen = told_and_seen(count, spread)
    error = (told - seen).std(ddof=1) / np.sqrt(len(told))
    assert told.mean() >= seen.mean() - 3 * error


def test_what_is_left_out_is_judged_by_the_others():
    e, starts, groups = drives(12, 1200, 0)
    e[groups == 5] *= 4.0
    chosen = scale_thresholds.choose(evidence.scaled(e, starts), starts, groups, FPS, 3.0)
    assert chosen.groups == 12
    assert chosen.hours == pytest.approx(12 * 60 / 3600)
    assert chosen.left_out.count > 0  # in the odd drive, while it is left out
    assert chosen.left_out.low < chosen.left_out.per_hour < chosen.left_out.high
    with_it = (evidence.scaled(e, starts) > np.array(chosen.values)[:, None]).any(axis=0)
    raised = int(events.crossings(with_it, starts).sum())  # no more than chance explains at the rate asked for
    assert stats.poisson.sf(raised - 1, 3.0 * chosen.hours) > 0.05
    # By another road: thresholds of the eleven others, on the odd one.
    rest = groups != 5
    others = scale_thresholds.choose(evidence.scaled(e[rest], starts[rest]), starts[rest], groups[rest], FPS, 3.0)
    crossed = (evidence.scaled(e[~rest], starts[~rest]) > np.array(others.values)[:, None]).any(axis=0)
    assert events.crossings(crossed, starts[~rest]).sum() == chosen.left_out.count


def test_the_group_that_raises_the_thresholds_most_is_named_by_its_oddest_frame():
    e, starts, groups = drives(10, 600, seed=3)
    even = scale_thresholds.choose(evidence.scaled(e, starts), starts, groups, FPS, 3.0).decisive
    e[4 * 600 + 100:4 * 600 + 130] += 12.0
    scaled = evidence.scaled(e, starts)
    chosen = scale_thresholds.choose(scaled, starts, groups, FPS, 3.0)
    rest = groups != groups[4 * 600]
    without = scale_thresholds.choose(scaled[:, rest], starts[rest], groups[rest], FPS, 3.0)
    assert 4 * 600 + 100 < chosen.decisive.frame < 4 * 600 + 140
    assert chosen.decisive.raised == pytest.approx(stats.gmean(np.array(chosen.values) / without.values))
    assert chosen.decisive.raised > 1.25 > even.raised


def test_fewer_false_alarms_take_higher_thresholds():
    e, starts, groups = drives(10, 1200, 1)
    scaled = evidence.scaled(e, starts)
    low, normal, high = (np.array(scale_thresholds.choose(scaled, starts, groups, FPS, rate).values)
                         for rate in (0.3, 3.0, 30.0))
    assert (low > normal).all()
    assert (normal > high).all()
    assert (normal[:-1] > normal[1:]).all()  # short scales vary more


def test_fewer_drives_are_trusted_less():
    e, starts, groups = drives(400, 400, 2)
    scaled = evidence.scaled(e, starts)
    many, few = [], []
    for begin in range(0, 400, 40):
        chosen = (groups >= begin) & (groups < begin + 40)
        many.append(scale_thresholds.choose(scaled[:, chosen], starts[chosen], groups[chosen], FPS, 3.0).values)
        chosen = (groups >= begin) & (groups < begin + 4)
        few.append(scale_thresholds.choose(scaled[:, chosen], starts[chosen], groups[chosen], FPS, 3.0).values)
    assert (np.median(few, axis=0) > np.median(many, axis=0)).all()


def test_benign_variants_count_but_their_time_does_not():
    e, starts, groups = drives(10, 1200, 3)
    plain = scale_thresholds.choose(evidence.scaled(e, starts), starts, groups, FPS, 3.0)
    twice, again = np.tile(e, 2), np.repeat([0, 1], len(e))
    twice[len(e):] *= 1.5
    starts, groups = np.tile(starts, 2), np.tile(groups, 2)
    both = scale_thresholds.choose(evidence.scaled(twice, starts), starts, groups, FPS, 3.0, variant=again)
    assert both.hours == plain.hours
    assert (np.array(both.values) > np.array(plain.values)).all()
    assert both.worst_variant >= both.left_out.per_hour


@pytest.mark.parametrize(("change", "message"), [
    ({"groups": np.zeros(20)}, "take two groups"), ({"per_hour": 0.0}, "positive false-alarm rate"),
    ({"fps": 0.0}, "fps must be positive"), ({"starts": np.zeros(3, bool)}, "must be \\[S, N\\]")])
def test_what_cannot_be_promised_is_refused(change, message):
    given = {"scaled": np.ones((2, 20)), "starts": np.arange(20) == 0, "groups": np.arange(20) // 10, "fps": FPS,
             "per_hour": 3.0, "windows": (5, 10), **change}
    with pytest.raises(ValueError, match=message):
        scale_thresholds.choose(**given)
