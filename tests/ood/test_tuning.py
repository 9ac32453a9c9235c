"""Decay and threshold on synthetic validation: the best AUROC, then the soonest detection, at the stated rate."""
import numpy as np
import pytest

from leanood.ood import cusum, events, metrics, tuning

FPS = 20


def validation(seed=0, shift=3.0):
    rng = np.random.default_rng(seed)
    id_log = rng.normal(-1, 2, 12_000)
    ood_log, ood = rng.normal(-1, 2, 4_000), np.arange(4_000) % 200 >= 100
    ood_log[ood] += shift
    return {"id_log_martingale": id_log, "id_starts": np.arange(12_000) % 1_000 == 0, "ood_log_martingale": ood_log,
            "ood_starts": np.arange(4_000) % 200 == 0, "ood": ood, "fps": FPS, "false_alarms_per_hour": 6}


def test_reports_what_was_seen_under_the_choice():
    given = validation()
    chosen = tuning.tune(**given)
    id_score = cusum.scores(given["id_log_martingale"], given["id_starts"], [chosen.decay])[0]
    ood_score = cusum.scores(given["ood_log_martingale"], given["ood_starts"], [chosen.decay])[0]
    ood = given["ood"]
    assert chosen.auroc == metrics.evaluate(np.append(id_score, ood_score[~ood]), ood_score[ood]).auroc
    assert chosen.auroc >= max(chosen.aurocs) - 0.005
    assert len(chosen.decays) == len(chosen.aurocs) > 5
    detections = events.detections(ood_score > chosen.threshold.value, given["ood_starts"], ood, FPS)
    assert (chosen.hit_rate, chosen.mean_delay) == (detections.hit_rate, detections.mean_delay)
    assert chosen.hit_rate == 1
    assert chosen.mean_delay < 20


def test_the_rate_holds_on_fresh_driving():
    fresh, starts = np.random.default_rng(5).normal(-1, 2, 216_000), np.arange(216_000) % 1_000 == 0  # three hours
    rates = []
    for seed in range(3):
        chosen = tuning.tune(**validation(seed))
        score = cusum.scores(fresh, starts, [chosen.decay])[0]
        rates.append(events.false_alarms(score > chosen.threshold.value, starts, FPS).per_hour)
    assert 1 < np.median(rates) < 20


def test_among_equals_the_soonest_detection_wins():
    chosen = tuning.tune(**validation(shift=30), decays=[0.0, 0.5, 1.0, 2.0])
    assert chosen.decay in (0.0, 0.5, 1.0, 2.0)
    delays = [tuning.tune(**validation(shift=30), decays=[decay]).mean_delay for decay, auroc in
              zip(chosen.decays, chosen.aurocs) if auroc >= max(chosen.aurocs) - 0.005]
    assert chosen.mean_delay == min(delays)


def test_avoids_decays_under_which_validation_says_nothing_of_false_alarms():
    chosen = tuning.tune(**validation(shift=100), decays=[1.0, 50.0])
    assert max(chosen.aurocs) - min(chosen.aurocs) < 0.005
    assert chosen.decay == 1.0
    assert tuning.tune(**validation(shift=100), decays=[50.0]).threshold.warning


def test_without_a_mask_all_frames_of_the_ood_sequences_are_ood():
    given = validation()
    every = tuning.tune(**{**given, "ood": None}, decays=[1.0])
    masked = tuning.tune(**{**given, "ood": np.ones(4_000, bool)}, decays=[1.0])
    assert every == masked


def test_refuses_arrays_of_unlike_length():
    with pytest.raises(ValueError, match=r"ln M \[12000\] and starts \[3\]"):
        tuning.tune(**{**validation(), "id_starts": np.ones(3, bool)})


def test_infinity_is_always_tried_and_wins_where_s_must_come_back():
    given = validation()
    given["ood"] = np.arange(4_000) % 200 // 50 % 2 == 1  # two stretches a sequence, ordinary frames after each
    given["ood_log_martingale"] = np.where(given["ood"], 20.0, -1.0) + np.random.default_rng(3).normal(0, 1, 4_000)
    chosen = tuning.tune(**given)
    assert chosen.decays[-1] == np.inf
    assert chosen.aurocs[-1] > 0.99
    assert chosen.auroc > 0.99
    assert tuning.tune(**given, decays=[0.0]).auroc < 0.97


def test_a_silent_decay_loses_to_one_that_ranks_worse_than_chance():
    given = validation(shift=-1.0)  # OOD frames look a little more ordinary: each S that moves is below one half
    chosen = tuning.tune(**given, decays=[0.5, 1e6])
    assert chosen.aurocs[0] < chosen.aurocs[1] == 0.5
    assert (chosen.decay, chosen.warning) == (0.5, "")


def test_a_score_that_never_moves_is_called_broken():
    chosen = tuning.tune(**validation(), decays=[1e6])
    assert chosen.auroc == 0.5
    assert "the detector is broken" in chosen.warning
    flat = {**validation(), "id_log_martingale": np.full(12_000, -1.0), "ood_log_martingale": np.full(4_000, -1.0)}
    assert "the detector is broken" in tuning.tune(**flat).warning
