"""Alarms as events, on hand-made sequences; the Poisson interval by its definition."""
import numpy as np
import pytest
from scipy import stats

from leanood.ood import events


def flags(text):
    return np.array([character == "#" for character in text])


def test_crossings_are_upward_and_begin_anew_with_each_sequence():
    starts = flags("#.....#..")
    alarm = flags(".##.###.#")
    assert np.flatnonzero(events.crossings(alarm, starts)).tolist() == [1, 4, 6, 8]
    assert np.flatnonzero(events.crossings(flags("##"), flags(".."))).tolist() == [0]


def test_false_alarms_per_hour():
    alarm = np.zeros(72_000, bool)
    alarm[[100, 101, 102, 5000, 71_999]] = True
    result = events.false_alarms(alarm, np.arange(72_000) == 0, fps=20)
    assert (result.count, result.hours, result.per_hour) == (3, 1.0, 3.0)
    assert stats.poisson.sf(2, result.low) == pytest.approx(0.025)
    assert stats.poisson.cdf(3, result.high) == pytest.approx(0.025)


def test_none_seen_is_not_none_promised():
    result = events.false_alarms(np.zeros(7_200, bool), np.arange(7_200) == 0, fps=20)
    assert (result.count, result.low) == (0, 0.0)
    assert result.high == pytest.approx(-np.log(0.025) / 0.1)


def test_false_alarms_are_counted_until_a_sequence_turns_ood():
    starts, ood = flags("#.....#....."), flags("...##.......")
    alarm = flags(".#.##.#.#..#")
    result = events.false_alarms(alarm, starts, fps=1, ood=ood)
    assert result.count == 4
    assert result.hours == pytest.approx(9 / 3600)
    with pytest.raises(ValueError, match="no in-distribution time"):
        events.false_alarms(alarm[:2], starts[:2], fps=1, ood=np.ones(2, bool))


@pytest.mark.parametrize(("alarm", "hit", "delay", "already"), [
    ("..........", False, 10, False),
    ("....##....", True, 0, False),
    (".....##...", True, 1, False),
    ("..#....#..", True, 3, False),  # a false alarm before onset detects nothing
    ("..####....", True, 0, True),
    (".........#", False, 10, False),  # too late: it is in-distribution again
])
def test_delay_runs_from_onset_and_a_miss_costs_the_sequence(alarm, hit, delay, already):
    ood = flags("....####..")
    quiet = flags("..........")  # a sequence that stays in-distribution is left out
    starts = np.isin(np.arange(20), [0, 10])
    result = events.detections(np.append(quiet, flags(alarm)), starts, np.append(quiet, ood), fps=20)
    assert (result.hit.tolist(), result.delay.tolist(), result.already.tolist()) == ([hit], [delay], [already])


def test_rates_and_delays_over_sequences():
    starts, ood = flags("#....#....#...."), flags("...##...##.####")
    result = events.detections(flags("...#.....#....."), starts, ood, fps=2)
    assert result.hit_rate == pytest.approx(2 / 3)
    assert (result.mean_delay, result.median_delay, result.median_delay_seconds) == (2, 1, 0.5)


def test_refuses_what_has_no_answer():
    with pytest.raises(ValueError, match="no sequence turns OOD"):
        events.detections(flags(".."), flags("#."), flags(".."), fps=20)
    with pytest.raises(ValueError, match="fps must be positive to tell time, not 0.0"):
        events.false_alarms(flags(".."), flags("#."), fps=0.0)
    with pytest.raises(ValueError, match="one flag a frame"):
        events.crossings(flags(".."), flags("#"))
