"""Typicality: its channels recomputed by other roads, its two paths, its storage, what it should and shouldn't see."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.covariance import LedoitWolf

from leanood.ood import detector, gaussian, nonconformity, tail, typicality

FLOAT32 = {"rtol": 1e-4, "atol": 1e-4}  # within which a frame at a time says what whole sequences do


def outputs(seed=0, count=600, scale=1.0):
    """Early statistics as of real frames: positive, of different sizes, varying together; latents of a β-VAE."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(99).uniform(0.01, 0.5, 28)
    common = rng.normal(0, 0.1, (count, 1))
    early = base * np.exp(common + rng.normal(0, 0.05, (count, 28))) * scale
    return {"early": early.astype(np.float32), "mu": rng.normal(0, 1, (count, 8)).astype(np.float32),
            "logvar": rng.normal(-2, 0.3, (count, 8)).astype(np.float32)}


def starts(count=600, length=200):
    return np.arange(count) % length == 0


@pytest.fixture(scope="module")
def fitted():
    return typicality.Typicality().fit(outputs(), starts=starts())


def test_gaussian_is_mahalanobis_with_ledoit_wolf():
    x = np.random.default_rng(0).normal(3, [1, 5, 0.1], (200, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0], [0, 0.3, 1]])
    fit = gaussian.Gaussian.fit(x)
    z = (x - x.mean(0)) / x.std(0)
    reference = LedoitWolf().fit(z).mahalanobis(z)
    np.testing.assert_allclose(fit.distances(x), reference, rtol=1e-9)


def test_a_gaussian_tells_its_mean_or_none():
    x = np.random.default_rng(4).normal(5, 2, (60, 7))
    np.testing.assert_allclose(gaussian.Gaussian.fit(x).centre(), x.mean(axis=0), rtol=1e-9)
    partition = np.repeat(["a", "b"], 30)
    np.testing.assert_allclose(gaussian.Gaussian.fit(x, None, partition).centre(), x[:30].mean(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(gaussian.Gaussian(np.zeros((3, 3)), np.ones(3)).centre(), np.zeros(3))


def test_gaussian_survives_constant_and_few_features():
    x = np.random.default_rng(0).normal(size=(5, 20))
    x[:, 3] = 7.0
    fit = gaussian.Gaussian.fit(x)
    assert np.isfinite(fit.distances(x)).all()
    moved = x.copy()
    moved[:, 3] += 1.0
    assert (fit.distances(moved) > fit.distances(x)).all()


def test_gaussian_names_too_few_frames():
    with pytest.raises(ValueError, match="at least 2 frames to fit, not 1"):
        gaussian.Gaussian.fit(np.zeros((1, 4)))


def test_tail_is_the_empirical_p_value_below_and_exponential_above():
    values = np.random.default_rng(1).exponential(2.0, 5000)
    fit = tail.Tail.fit(values)
    inside = np.quantile(values, [0.1, 0.5, 0.8])
    np.testing.assert_allclose(fit.log_p(inside), -np.log([0.9, 0.5, 0.2]), atol=0.02)
    far = np.array([20.0, 40.0])
    np.testing.assert_allclose(fit.log_p(far), -stats.expon(scale=2.0).logsf(far), rtol=0.1)
    assert fit.log_p_scalar(np.inf) == np.inf


@given(st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=60),
       st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=20))
def test_tail_is_monotone_non_negative_and_the_same_one_by_one(values, queries):
    fit = tail.Tail.fit(np.array(values))
    queries = np.sort(np.array(queries))
    evidence = fit.log_p(queries)
    assert (evidence >= 0).all()
    assert (np.diff(evidence) >= -1e-9).all()
    assert [fit.log_p_scalar(query) for query in queries] == pytest.approx(evidence.tolist(), rel=1e-6, abs=1e-9)


def test_tail_names_too_few_values():
    with pytest.raises(ValueError, match="at least 10 finite calibration values; it was given 9"):
        tail.Tail.fit(np.arange(9.0))


def test_alpha_is_the_weighted_maximum_of_the_channels(fitted):
    fresh, begin = outputs(seed=1), starts()
    evidence = fitted.evidence(fresh, begin)
    assert set(evidence) == {"early", "latent", "change"}
    np.testing.assert_array_equal(fitted.score(fresh, begin)[:, 0], np.max(list(evidence.values()), axis=0))
    for missing in ("latent", "local"):  # a network has one of the two
        assert sum(weight for channel, weight in typicality.WEIGHTS.items() if channel != missing) <= 1 + 1e-9


def test_alpha_is_a_conservative_log_p_value(fitted):
    # P(α > −ln p) ≤ p on frames like the training's: the weighted Bonferroni bound, tails measured by cross-fitting.
    alpha = np.concatenate([fitted.score(outputs(seed=s), starts())[:, 0] for s in range(1, 9)])
    for p in (0.2, 0.1, 0.05):
        assert np.mean(alpha > -np.log(p)) <= 1.6 * p


def test_a_frame_at_a_time_is_the_same(fitted):
    fresh, begin = outputs(seed=2), starts()
    whole = fitted.score(fresh, begin)[:, 0]
    single = [fitted.score_frame({k: v[i:i + 1] for k, v in fresh.items()}, bool(begin[i]))[0] for i in range(300)]
    np.testing.assert_allclose(single, whole[:300], **FLOAT32)


@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_far_from_all_that_was_seen_a_frame_at_a_time_is_the_same_too(fitted, scale):
    far = outputs(seed=2, scale=scale)
    single = [fitted.score_frame({k: v[i] for k, v in far.items()}, i == 0)[0] for i in range(50)]
    np.testing.assert_allclose(single, fitted.score(far, starts())[:50, 0], **FLOAT32)


def test_a_small_spread_about_a_large_mean_survives_float32():
    rng = np.random.default_rng(0)
    early, deep = (rng.normal(size=(400, 30)) for _ in range(2))
    frames = {"early": np.exp(0.01 * early - 2).astype(np.float32), "features": (1000 + deep).astype(np.float32)}
    measure = typicality.Typicality().fit({name: array[:300] for name, array in frames.items()})
    single = [measure.score_frame({name: array[i] for name, array in frames.items()}, True)[0] for i in range(300, 400)]
    np.testing.assert_allclose(single, measure.score(frames)[300:, 0], **FLOAT32)


def test_survives_storage(fitted):
    fresh = outputs(seed=3)
    again = typicality.Typicality.from_arrays(fitted.to_arrays())
    np.testing.assert_array_equal(again.score(fresh, starts()), fitted.score(fresh, starts()))
    assert all(array.dtype.kind in "fiuU" for array in fitted.to_arrays().values())


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_sees_too_little_like_too_much(fitted, factor):
    ood = outputs(seed=4, scale=factor)
    assert np.median(fitted.score(ood, starts())) > np.quantile(fitted.score(outputs(seed=5), starts()), 0.99)


def test_sees_a_frozen_camera_by_its_second_frame(fitted):
    frozen = {name: np.repeat(array[:1], 50, axis=0) for name, array in outputs(seed=6).items()}
    change = fitted.evidence(frozen, np.arange(50) == 0)["change"]
    assert change[0] < 1
    assert (change[1:] > 10).all()


def test_unordered_images_have_no_change_and_say_so():
    measure = typicality.Typicality().fit(outputs())
    assert "change" not in measure.channels
    assert "unordered images" in measure.warnings[0]
    assert measure.inputs == ("early", "mu", "logvar")


def deep_outputs(seed=0, count=600):
    """The early statistics and, beside them, a filter bank's bands (negative ones too) and a network's features."""
    rng = np.random.default_rng(seed + 1)
    common = rng.normal(0, 1, (count, 1))
    bands = -3 + common * np.linspace(0.5, 1, 12) + rng.normal(0, 0.3, (count, 12))
    features = common + rng.normal(0, 0.5, (count, 5))
    return {"early": np.concatenate([outputs(seed, count)["early"], bands], axis=1).astype(np.float32),
            "features": features.astype(np.float32)}


def test_features_join_the_early_statistics_in_one_gaussian():
    deep = deep_outputs()
    measure = typicality.Typicality().fit(deep)
    assert measure.inputs == ("early", "features")
    assert measure.channels == ("early",)
    columns = np.concatenate([deep["early"], deep["features"],
                              np.log(deep["early"][:, :28].astype(float) + 1e-4)], axis=1)
    order = np.argsort(gaussian.Gaussian.fit(columns).distances(columns))
    assert (np.diff(measure.score(deep)[order, 0]) >= -1e-12).all()
    against = {**deep, "features": -deep["features"]}  # each as usual, but not together
    assert np.median(measure.score(against)) > np.quantile(measure.score(deep), 0.9)
    assert typicality.Typicality(features=False).fit(deep).inputs == ("early",)
    alone = typicality.Typicality(bank=False).fit(deep, starts=starts())
    assert (alone.inputs, alone.channels) == (("features",), ("early",))
    features = np.asarray(deep["features"], np.float64)
    order = np.argsort(gaussian.Gaussian.fit(features).distances(features))
    assert (np.diff(alone.score(deep)[order, 0]) >= -1e-12).all()
    again = typicality.Typicality.from_arrays(alone.to_arrays())
    assert again.score_frame({"features": features[5]}, False)[0] == pytest.approx(alone.score(deep)[5, 0])


def test_features_a_frame_at_a_time_and_stored():
    measure = typicality.Typicality().fit(deep_outputs(), starts=starts())
    again = typicality.Typicality.from_arrays(measure.to_arrays())
    assert again.inputs == measure.inputs == ("early", "features")
    assert "latent" not in again.channels
    new = deep_outputs(seed=4, count=50)
    begins = np.arange(50) == 0
    whole = measure.score(new, begins)[:, 0]
    np.testing.assert_array_equal(again.score(new, begins)[:, 0], whole)
    stepped = [again.score_frame({name: array[i] for name, array in new.items()}, bool(begins[i]))[0]
               for i in range(50)]
    np.testing.assert_allclose(stepped, whole, **FLOAT32)


def test_arrays_of_version_0_1_load(fitted):
    arrays = fitted.to_arrays()
    early, _, _, latents = arrays["widths"]
    again = typicality.Typicality.from_arrays({**arrays, "widths": np.array([2 * early, latents])})
    np.testing.assert_array_equal(again.score(outputs(3), starts()), fitted.score(outputs(3), starts()))


def test_channels_can_be_left_out():
    measure = typicality.Typicality(("latent",)).fit(outputs())
    assert measure.inputs == ("mu", "logvar")
    assert measure.score(outputs(seed=1)).shape == (600, 1)
    only_change = typicality.Typicality(("change",)).fit(outputs(), starts=starts())
    again = typicality.Typicality.from_arrays(only_change.to_arrays())
    fresh = outputs(seed=7)
    assert [again.score_frame({k: v[i] for k, v in fresh.items()}, i == 0)[0] for i in range(20)] == pytest.approx(
        only_change.score(fresh, starts())[:20, 0].tolist(), rel=1e-4)


def test_errors_teach():
    with pytest.raises(ValueError, match="typicality has the channels early, latent, change, local, not colour"):
        typicality.Typicality(("colour",))
    with pytest.raises(ValueError, match="reads the output 'early', which the network lacks; convert it with"):
        typicality.Typicality().fit({"mu": np.zeros((20, 3)), "logvar": np.zeros((20, 3))})
    with pytest.raises(ValueError, match="'change' needs sequences"):
        typicality.Typicality(("change",)).fit(outputs())


def test_in_a_detector_steps_equal_runs(fitted):
    judge = detector.Detector.calibrate(fitted, outputs(seed=8), starts=starts())
    judge.decay, judge.threshold = np.inf, 30.0
    fresh = outputs(seed=9, count=120)
    ood = {name: array.copy() for name, array in fresh.items()}
    ood["early"][60:90] *= 3.0  # for so long that each window holds nothing else
    ran = judge.run(ood, np.arange(120) == 0)
    again = detector.Detector.from_arrays(judge.config(), judge.to_arrays())
    steps = [again.step({name: array[i:i + 1] for name, array in ood.items()}) for i in range(120)]
    np.testing.assert_allclose([step.score for step in steps], ran["score"], **FLOAT32)
    np.testing.assert_array_equal(ran["score"], ran["log_martingale"])  # an infinite decay carries nothing over
    assert ran["alarm"][70:90].all()
    assert not ran["alarm"][:60].any()


def test_evidence_grows_beyond_the_calibration_frames(fitted):
    judge = detector.Detector.calibrate(fitted, outputs(seed=8), starts=starts())
    p = [judge.run(outputs(seed=9, count=10, scale=factor), np.arange(10) == 0)["p_value"].min()
         for factor in (1.6, 2.2, 1e6)]
    assert 0 < p[2] < p[1] < p[0] < 1 / 601


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_caution_keeps_the_order_and_slows_growth(first, second):
    low, high = sorted((first, second))
    assert tail.cautious(low) <= tail.cautious(high) <= max(high, 4.0)
    assert tail.cautious(low) == low if low <= 4 else tail.cautious(low) == pytest.approx(
        4 + 4 * np.log(min(low, 1e6) / 4))


def test_the_highest_score_is_that_of_a_window_full_of_the_most_nonconforming_frames(fitted):
    judge = detector.Detector.calibrate(fitted, outputs(seed=8), starts=starts(), window=10)
    assert judge.highest_score() > 1e7  # a finite decay adds up, frame by frame
    judge.decay = np.inf
    ood = outputs(seed=9, count=30, scale=50.0)
    assert judge.run(ood, np.arange(30) == 0)["score"].max() == pytest.approx(judge.highest_score())


def _benign_variants(outputs, rng, count=3):
    """What a codec might do: one direction of the statistics moves, by far more than it ever did in training."""
    frames = len(outputs["early"])
    origin = np.tile(np.arange(frames), count)
    varied = {name: array[origin].copy() for name, array in outputs.items()}
    varied["early"][:, 3] *= np.exp(rng.normal(0.3, 0.1, len(origin)))
    return nonconformity.Variants(varied, origin, None)


def test_what_benign_variants_move_counts_for_little_and_the_rest_as_before():
    rng = np.random.default_rng(5)

    def draw(count):
        return {"early": np.exp(rng.normal(-2, 0.1, (count, 6))), "mu": rng.normal(size=(count, 4)),
                "logvar": rng.normal(-1, 0.1, (count, 4))}

    train, ordinary = draw(300), draw(200)
    plain = typicality.Typicality().fit(train)
    robust = typicality.Typicality().fit(train, variants=_benign_variants(train, rng))
    changed = _benign_variants(ordinary, rng, 1).outputs
    ood = {**ordinary, "early": ordinary["early"] * np.array([1, 1.8, 1, 1, 1, 1])}

    def flagged(measure, outputs):
        return (measure.score(outputs) > np.quantile(measure.score(ordinary), 0.95)).mean()

    assert flagged(plain, changed) > 0.5 > 0.15 > flagged(robust, changed)
    assert flagged(robust, ood) > 0.9
    again = typicality.Typicality.from_arrays(robust.to_arrays())
    np.testing.assert_allclose(again.score(ordinary), robust.score(ordinary))


def test_frames_that_hardly_differ_are_judged_with_more_forbearance():
    """As lossless frames of one place: any codec would be odder than all of them."""
    rng = np.random.default_rng(6)

    def draw(count):
        return {"early": np.exp(rng.normal(-2, 0.01, (count, 12))), "mu": rng.normal(size=(count, 4)),
                "logvar": rng.normal(-1, 0.1, (count, 4))}

    def varied(outputs, count):
        origin = np.tile(np.arange(len(outputs["early"])), count)
        early = outputs["early"][origin].copy()
        early[:, :9] *= np.exp(rng.normal(0.0, 0.02, (len(origin), 9)))
        return nonconformity.Variants({**{name: outputs[name][origin] for name in ("mu", "logvar")}, "early": early},
                                      origin, None)

    train, fresh = draw(400), draw(300)
    measure = typicality.Typicality((typicality.EARLY,)).fit(train, variants=varied(train, 2))
    assert "training frames differ less than a codec" in measure.warnings[-1]
    limit = np.quantile(measure.score(fresh), 0.95)
    assert (measure.score(varied(fresh, 1).outputs) > limit).mean() < 0.2
    ood = {**fresh, "early": fresh["early"] * np.repeat([1.0, 1.1], [11, 1])}  # nothing benign moves the last
    assert (measure.score(ood) > limit).mean() > 0.9


def test_subsets_have_means_of_their_own_and_one_covariance():
    rng = np.random.default_rng(8)
    names = np.repeat(["bright", "medium"], [90, 60])
    centre = {"bright": 0.0, "medium": 8.0}
    x = rng.normal(size=(150, 4)) @ rng.normal(size=(4, 4)) + np.array([centre[name] for name in names])[:, None]
    fitted = gaussian.Gaussian.fit(x, partition=names)
    means = {name: x[names == name].mean(0) for name in centre}
    rest = x - np.stack([means[name] for name in names])
    pooled = gaussian.Gaussian.fit(rest)
    np.testing.assert_allclose(fitted.distances(x), np.min([pooled.distances(x - mean) for mean in means.values()], 0))
    between = np.full((1, 4), 4.0)  # typical of neither
    assert fitted.distances(between) > gaussian.Gaussian.fit(x).distances(between)
    few = np.repeat(["a", "b"], [131, 19])
    np.testing.assert_array_equal(gaussian.Gaussian.fit(x, partition=few).distances(x),
                                  gaussian.Gaussian.fit(x).distances(x))


def test_by_partition_a_frame_at_a_time_and_stored():
    frames = outputs()
    names = np.where(np.arange(600) % 400 < 200, "bright", "medium")
    frames["early"][names == "medium"] *= 0.3
    measure = typicality.Typicality(by_partition=True).fit(frames, names, starts())
    whole = measure.score(frames, starts())[:, 0]
    again = typicality.Typicality.from_arrays(measure.to_arrays())
    single = [again.score_frame({k: v[i] for k, v in frames.items()}, bool(starts()[i]))[0] for i in range(300)]
    np.testing.assert_allclose(single, whole[:300], **FLOAT32)
    between = {**frames, "early": frames["early"] * np.where(names == "bright", 0.55, 1.8)[:, None].astype(np.float32)}
    pooled = typicality.Typicality().fit(frames, names, starts())
    assert np.median(measure.score(between, starts())) > 2 * np.median(pooled.score(between, starts()))


def test_a_variant_is_held_out_with_the_frame_that_it_is_of():
    rng = np.random.default_rng(6)
    train = {"early": np.exp(rng.normal(-2, 0.1, (50, 12)))}
    copies = nonconformity.Variants({"early": train["early"][::-1].copy()}, np.arange(50)[::-1], None)
    measure = typicality.Typicality(("early",)).fit(train, variants=copies)
    alone = typicality.Typicality(("early",)).fit(train)
    # Copies move nothing: the tail of frames and copies is that of the frames, which a leak between folds would lower.
    np.testing.assert_allclose(measure.score(train), alone.score(train), atol=0.1)


def test_variants_of_sequences_have_starts_of_their_own():
    rng = np.random.default_rng(7)
    early = np.exp(rng.normal(-2, 0.02, (1, 6)) + np.cumsum(rng.normal(0, 0.01, (200, 6)), axis=0))
    starts = np.arange(200) % 100 == 0
    pieces = np.arange(200) % 25 == 0
    varied = early * np.exp(np.repeat(rng.normal(0, 0.5, (8, 6)), 25, axis=0))  # another camera every 25 frames
    told = typicality.Typicality(("change",)).fit(
        {"early": early}, starts=starts, variants=nonconformity.Variants({"early": varied}, np.arange(200), pieces))
    untold = typicality.Typicality(("change",)).fit({"early": early}, starts=starts)
    np.testing.assert_allclose(told.to_arrays()["pace"], untold.to_arrays()["pace"], atol=0.02)
