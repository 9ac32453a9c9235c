"""Positive control: on made-up latents that do follow a factor, each detector of the latents must find its extremes.

Where this passes and a trained β-VAE's detector stands at chance, the encoder is to blame, not the arithmetic.
"""
import numpy as np
import pytest

from leanood.ood import detector, kl_topk, kl_typical, metrics, tuning

FPS, SCENE, LATENTS = 20.0, 400, 12


def latents(level, seed):
    """Posterior of frames with a factor's level [N]: latent 3 follows it, 0 and 1 move fast, others rest."""
    rng = np.random.default_rng(seed)
    mu = rng.normal(0, 0.05, (len(level), LATENTS))
    mu[:, 3] += 2.5 * level
    mu[:, :2] += 0.6 * rng.normal(size=(len(level), 2))
    logvar = np.full_like(mu, -0.02)
    logvar[:, 3], logvar[:, :2] = -4.0, -1.0
    return {"mu": mu.astype(np.float32), "logvar": logvar.astype(np.float32)}


def driving(scenes, seed):
    """Levels within ±0.5 that wander slowly, and where scenes start."""
    time = np.arange(scenes * SCENE)
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, scenes).repeat(SCENE)
    return 0.5 * np.sin(2 * np.pi * (time % SCENE) / 300 + phase), time % SCENE == 0


def judged(measure, beyond, **options):
    """AUROC of S on test scenes whose middle half lies beyond the range, by a detector tuned on validation scenes."""
    (train, starts), (table, table_starts) = driving(20, 1), driving(10, 2)
    kind = np.repeat(["brightness", "rain"], 5 * SCENE)
    judge = detector.Detector.calibrate(
        measure.fit(latents(train, 11), np.tile(kind, 2) if options else None, starts), latents(table, 12),
        partition=kind if options else None, starts=table_starts, **options)
    calm, calm_starts = driving(10, 3)
    ood_starts = np.arange(4 * SCENE) % SCENE == 0
    ood = np.isin(np.arange(4 * SCENE) % SCENE, np.arange(SCENE // 4, SCENE - SCENE // 4))
    logs = []
    for seed in (4, 5):
        level = np.where(ood, beyond, driving(4, seed)[0])
        logs.append(latents(level, 10 + seed))
    chosen = tuning.tune(judge.run(latents(calm, 13), calm_starts)["log_martingale"], calm_starts,
                         judge.run(logs[0], ood_starts)["log_martingale"], ood_starts, fps=FPS,
                         false_alarms_per_hour=3.0, ood=ood)
    judge.decay, judge.threshold = chosen.decay, chosen.threshold.value
    score = judge.run(logs[1], ood_starts)["score"]
    assert not chosen.warning
    return metrics.evaluate(score[~ood], score[ood]).auroc


@pytest.mark.parametrize("beyond", [-0.9, 0.9])
@pytest.mark.parametrize("options", [{}, {"partition_kind": "factor"}])
def test_kl_topk_finds_a_factor_beyond_its_range(beyond, options):
    assert judged(kl_topk.KlTopK(), beyond, **options) > 0.93


@pytest.mark.parametrize("beyond", [-0.9, 0.9])
def test_kl_typical_finds_a_factor_beyond_its_range(beyond):
    assert judged(kl_typical.KlTypical(), beyond) > 0.9


def test_the_published_ranking_takes_fast_content_for_the_factor():
    level, starts = driving(20, 1)
    assert kl_topk.KlTopK(rank_by="variance").fit(latents(level, 11), None, starts).latents.tolist() == [[3]]
    assert kl_topk.KlTopK(rank_by="scenes").fit(latents(level, 11), None, starts).latents[0, 0] in (0, 1, 3)
