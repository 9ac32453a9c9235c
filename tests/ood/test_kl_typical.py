"""Two-sided typicality of the latents' KL: less is as odd as more, and both of its paths give the same numbers."""
import numpy as np
import pytest
from sklearn import covariance

from leanood.ood import detector, kl, kl_typical, metrics, nonconformity


def outputs(count, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    mu = rng.normal(0, scale, (count, 1)) * np.array([1.0, 0.5, 0.0]) + rng.normal(0, 0.3 * scale, (count, 3))
    return {"mu": mu.astype(np.float32), "logvar": rng.normal(-1, 0.2, (count, 3)).astype(np.float32)}


def test_is_the_mahalanobis_distance_of_ln_kl():
    train, test = outputs(300), outputs(40, seed=1)
    logarithms = [np.log(kl.per_latent(posterior["mu"], posterior["logvar"]) + 1e-3) for posterior in (train, test)]
    mean, deviation = logarithms[0].mean(axis=0), logarithms[0].std(axis=0)
    inner = [(values - mean) / deviation for values in logarithms]
    fitted = covariance.LedoitWolf(assume_centered=True).fit(inner[0])
    np.testing.assert_allclose(kl_typical.KlTypical().fit(train).score(test)[:, 0], fitted.mahalanobis(inner[1]))


@pytest.mark.parametrize("scale", [0.01, 6.0])
def test_too_little_is_as_nonconforming_as_too_much(scale):
    measure = kl_typical.KlTypical().fit(outputs(500))
    ood = outputs(300, seed=2, scale=scale)
    ood["logvar"] = ood["logvar"] * (0.1 if scale < 1 else 1)
    assert metrics.evaluate(measure.score(outputs(300, seed=1))[:, 0], measure.score(ood)[:, 0]).auroc > 0.9


def test_what_benign_variants_move_counts_for_less():
    train = outputs(300)
    moved = {"mu": train["mu"].copy(), "logvar": train["logvar"]}
    moved["mu"][:, 2] += 0.8
    variants = nonconformity.Variants(moved, np.arange(300), None)
    plain, fitted = kl_typical.KlTypical().fit(train), kl_typical.KlTypical().fit(train, variants=variants)
    assert fitted.score(moved).mean() < 0.7 * plain.score(moved).mean()


def test_one_frame_scores_like_many():
    measure = kl_typical.KlTypical().fit(outputs(100))
    test = outputs(50, seed=2)
    stepped = [measure.score_frame({name: array[t:t + 1] for name, array in test.items()}, t == 0)
               for t in range(50)]
    np.testing.assert_allclose(stepped, measure.score(test), rtol=1e-12)


def test_round_trip_in_a_detector():
    judge = detector.Detector.calibrate(kl_typical.KlTypical().fit(outputs(200)), outputs(200, seed=1), window=0)
    again = detector.Detector.from_arrays(judge.config(), judge.to_arrays())
    test = outputs(30, seed=2)
    np.testing.assert_array_equal(again.run(test, None)["score"], judge.run(test, None)["score"])


def test_says_where_the_latents_tell_nothing():
    rng = np.random.default_rng(0)
    rest = {"mu": rng.normal(0, 1e-3, (40, 3)), "logvar": rng.normal(0, 1e-3, (40, 3))}
    assert "the detector is blind" in kl_typical.KlTypical().fit(rest).warnings[0]
    assert kl_typical.KlTypical().fit(outputs(40)).warnings == ()
