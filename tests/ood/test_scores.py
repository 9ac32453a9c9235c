"""Every score: its formula by another road, its invariances, and what it refuses."""
import numpy as np
import pytest
from scipy import special, stats

from leanood.ood import scores
from leanood.ood.scores import react

RNG = np.random.RandomState(0)
N, D, C = 600, 24, 5
WEIGHT, BIAS = RNG.randn(D, C), RNG.randn(C)
LABELS = RNG.randint(C, size=N)
FEATURES = np.maximum(RNG.randn(N, D) + 2.0 * RNG.randn(C, D)[LABELS], 0).astype(np.float32)
OUTPUTS = {
    "features": FEATURES,
    "logits": (FEATURES @ WEIGHT + BIAS).astype(np.float32),
    "early": RNG.randn(N, 7).astype(np.float32),
}
OTHER = {
    "features": np.abs(RNG.randn(50, D)).astype(np.float32) * 3,
    "early": 3 * RNG.randn(50, 7).astype(np.float32),
}
OTHER["logits"] = (OTHER["features"] @ WEIGHT + BIAS).astype(np.float32)
PLAIN = [name for name in scores.NAMES if name != "fusion"]
OF_LOGITS = ["msp", "max_logit", "energy", "entropy", "gen", "odin", "kl_matching"]


def new(name):
    if name == "fusion":
        return scores.Fusion([scores.Energy(), scores.EarlyStatistics(), scores.RelativeMahalanobis()])
    return scores.by_name(name)()


def fitted(name, outputs=OUTPUTS, labels=LABELS):
    # The labels of this data are no predictions of its random layer, so that SHE fits on all frames.
    return new(name).fit(outputs, None if name == "she" else labels)


def softmax(outputs=OTHER, temperature=1.0):
    return special.softmax(outputs["logits"].astype(np.float64) / temperature, axis=1)


FORMULAS = {
    "msp": lambda: 1 - softmax().max(axis=1),
    "odin": lambda: 1 - softmax(temperature=1000).max(axis=1),
    "max_logit": lambda: -OTHER["logits"].max(axis=1),
    "energy": lambda: -special.logsumexp(OTHER["logits"].astype(np.float64), axis=1),
    "entropy": lambda: stats.entropy(softmax(), axis=1),
    "gen": lambda: ((softmax() * (1 - softmax())) ** 0.1).sum(axis=1),
}


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_score_of_logits_equals_its_formula(name):
    # 1 - p loses digits where p is nearly 1; raised to 0.1 that shows in the fourth.
    np.testing.assert_allclose(fitted(name).score(OTHER), FORMULAS[name](), rtol=1e-3, atol=1e-12)


def test_gen_takes_the_largest_probabilities_only():
    p = np.sort(softmax(), axis=1)[:, ::-1][:, :2]
    np.testing.assert_allclose(scores.GEN(gamma=0.3, top=2).score(OTHER), ((p * (1 - p)) ** 0.3).sum(axis=1), rtol=1e-2)


def test_confident_frames_keep_their_order_where_the_softmax_rounds_to_one():
    logits = np.array([[0.0, 40.0], [0.0, 60.0], [0.0, 500.0]])
    for name in ("msp", "gen", "odin", "entropy"):
        score = fitted(name).score({"logits": logits})
        assert score[0] > score[1] > score[2] >= 0, name


@pytest.mark.parametrize(("frames", "classes"), [(16385, 1), (9001, 10), (40, 1000), (3, 20000)])
def test_more_logits_than_fit_in_a_block(frames, classes):
    logits = np.random.RandomState(1).randn(frames, classes).astype(np.float32) * 20
    np.testing.assert_array_equal(scores.MaxLogit().score({"logits": logits}), -logits.max(axis=1))
    expected = -special.logsumexp(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(scores.Energy().score({"logits": logits}), expected, rtol=1e-12)


def test_energy_at_a_temperature():
    expected = -7 * special.logsumexp(OTHER["logits"].astype(np.float64) / 7, axis=1)
    np.testing.assert_allclose(scores.Energy(temperature=7).score(OTHER), expected)


def test_kl_matching_is_the_divergence_from_the_nearest_typical_softmax():
    p, q = softmax(OUTPUTS), softmax()
    typical = [p[p.argmax(axis=1) == k].mean(axis=0) for k in np.unique(p.argmax(axis=1))]
    expected = np.min([stats.entropy(q, d[None], axis=1) for d in typical], axis=0)
    np.testing.assert_allclose(fitted("kl_matching").score(OTHER), expected, rtol=1e-9, atol=1e-12)


def class_gaussians(shrinkage):
    means = np.stack([FEATURES[k == LABELS].astype(np.float64).mean(axis=0) for k in range(C)])
    within = np.cov((FEATURES - means[LABELS]).T, bias=True)
    scale = np.trace(within) / D
    return means, within, scale, (1 - shrinkage) * within + shrinkage * scale * np.eye(D)


def distances(points, mean, covariance):
    centred = points.astype(np.float64) - mean
    return (centred @ np.linalg.inv(covariance) * centred).sum(axis=1)


def test_mahalanobis_is_the_distance_to_the_nearest_class():
    means, _, _, covariance = class_gaussians(0.05)
    expected = np.min([distances(OTHER["features"], mean, covariance) for mean in means], axis=0)
    score = scores.Mahalanobis(shrinkage=0.05).fit(OUTPUTS, LABELS).score(OTHER)
    np.testing.assert_allclose(score, expected, rtol=1e-4)


def test_relative_mahalanobis_subtracts_the_distance_to_all_classes():
    means, _, _, covariance = class_gaussians(0.05)
    weights = np.bincount(LABELS) / N
    overall = weights @ means
    between = (means - overall).T @ (weights[:, None] * (means - overall))
    expected = (np.min([distances(OTHER["features"], mean, covariance) for mean in means], axis=0)
                - distances(OTHER["features"], overall, covariance + 0.95 * between))
    score = scores.RelativeMahalanobis(shrinkage=0.05).fit(OUTPUTS, LABELS).score(OTHER)
    np.testing.assert_allclose(score, expected, rtol=1e-4, atol=1e-3)


def test_shrinkage_is_ledoit_and_wolfs():
    covariance = pytest.importorskip("sklearn.covariance")
    from leanood.ood.scores import covariance as ours

    few = RNG.randn(40, 30) * np.linspace(0.1, 3, 30)
    expected, shrinkage = covariance.ledoit_wolf(few - few.mean(axis=0), assume_centered=True)
    pooled = ours.pooled(few, np.zeros(40, int), 1)
    np.testing.assert_allclose(pooled.shrinkage, shrinkage, rtol=1e-6)
    np.testing.assert_allclose(pooled.covariance, expected, rtol=1e-6)


def test_early_statistics_are_a_distance_to_one_mean():
    early = OUTPUTS["early"].astype(np.float64)
    expected = distances(OTHER["early"], early.mean(axis=0), np.cov(early.T, bias=True))
    score = scores.EarlyStatistics(shrinkage=1e-6).fit(OUTPUTS, LABELS).score(OTHER)
    np.testing.assert_allclose(score, expected, rtol=1e-3)


@pytest.mark.parametrize("k", [1, 7])
def test_knn_is_the_distance_to_the_kth_neighbour(k):
    unit = [o["features"] / np.linalg.norm(o["features"], axis=1, keepdims=True) for o in (OTHER, OUTPUTS)]
    expected = np.sort(np.linalg.norm(unit[0][:, None] - unit[1][None], axis=2), axis=1)[:, k - 1]
    np.testing.assert_allclose(scores.KNN(neighbours=k).fit(OUTPUTS).score(OTHER), expected, atol=1e-3)


@pytest.mark.parametrize(("width", "k"), [(5000, 1), (5000, 30), (4999, 17), (200, 2), (64, 64), (1, 1)])
def test_kth_largest_agrees_with_sorting_ties_included(width, k):
    from leanood.ood.scores import knn

    values = np.round(RNG.randn(20, width), 1).astype(np.float32)
    np.testing.assert_array_equal(knn.kth_largest(values, k), np.sort(values, axis=1)[:, -k])


def test_knn_keeps_at_most_the_rows_asked_for():
    score = scores.KNN(neighbours=3, rows=100, seed=4).fit(OUTPUTS)
    assert score.table.shape == (100, D)
    assert score.table.dtype == np.float32
    np.testing.assert_array_equal(score.table, scores.KNN(neighbours=3, rows=100, seed=4).fit(OUTPUTS).table)


def principal(dimensions):
    origin = -np.linalg.pinv(WEIGHT.T) @ BIAS
    _, _, axes = np.linalg.svd(FEATURES.astype(np.float64) - origin, full_matrices=True)
    return origin, axes[dimensions:].T


def test_vim_and_residual_equal_their_formulas_with_a_given_layer_and_a_recovered_one():
    origin, complement = principal(10)
    residual = np.linalg.norm((OTHER["features"] - origin) @ complement, axis=1)
    alpha = OUTPUTS["logits"].max(axis=1).mean() / np.linalg.norm((FEATURES - origin) @ complement, axis=1).mean()
    virtual = alpha * residual - special.logsumexp(OTHER["logits"].astype(np.float64), axis=1)
    for layer in ({"weight": WEIGHT, "bias": BIAS}, {}):
        np.testing.assert_allclose(scores.Residual(10, **layer).fit(OUTPUTS).score(OTHER), residual, rtol=1e-4)
        np.testing.assert_allclose(scores.ViM(10, **layer).fit(OUTPUTS).score(OTHER), virtual, rtol=1e-4, atol=1e-4)


def energy(features, weight=WEIGHT):
    return -special.logsumexp(features.astype(np.float64) @ weight + BIAS, axis=1)


@pytest.mark.parametrize("layer", [{"weight": WEIGHT, "bias": BIAS}, {}])
def test_react_clips_and_dice_prunes(layer):
    clipped = np.minimum(OTHER["features"], np.percentile(FEATURES, 80))
    np.testing.assert_allclose(scores.ReAct(80, **layer).fit(OUTPUTS).score(OTHER), energy(clipped), rtol=1e-4)
    contribution = FEATURES.mean(axis=0)[:, None] * WEIGHT
    kept = WEIGHT * (contribution > np.percentile(contribution, 70))
    np.testing.assert_allclose(scores.DICE(70, **layer).fit(OUTPUTS).score(OTHER), energy(OTHER["features"], kept),
                               rtol=1e-4)


def test_react_takes_a_clip_that_is_known_and_then_needs_no_fit():
    expected = energy(np.minimum(OTHER["features"], np.float32(0.7)))
    known = scores.ReAct(limit=0.7, weight=WEIGHT, bias=BIAS)
    np.testing.assert_allclose(known.score(OTHER), expected, rtol=1e-4)
    for score in (known, scores.ReAct(limit=0.7)):
        fit = score.fit(OUTPUTS)
        np.testing.assert_allclose(fit.score(OTHER), expected, rtol=1e-4)
        np.testing.assert_array_equal(scores.ReAct.from_arrays(fit.to_arrays()).score(OTHER), fit.score(OTHER))
    with pytest.raises(ValueError, match="limit is nan; it must be finite"):
        scores.ReAct(limit=np.nan)
    with pytest.raises(ValueError, match="ReAct has no statistics yet"):
        scores.ReAct(limit=0.7).score(OTHER)


def test_react_s_clip_of_many_frames_is_near_the_whole_set_s(monkeypatch):
    monkeypatch.setattr(react, "_VALUES", 100 * D)
    features = np.abs(np.random.RandomState(5).randn(2000, D)).astype(np.float32) * (1 + np.arange(2000) % 2)[:, None]
    score = scores.ReAct(90, WEIGHT, BIAS).fit({"features": features})  # classes take turns: every 20th is of one
    assert np.mean(features < score.limit) == pytest.approx(0.9, abs=0.02)


def test_the_row_that_has_no_score_is_named_wherever_it_lies():
    many = np.repeat(FEATURES, 4, axis=0)
    many[1999, 3] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity in row 1999"):
        scores.ReAct(90, WEIGHT, BIAS).fit(OUTPUTS).score({"features": many})


@pytest.mark.parametrize("variant", ["s", "p", "b"])
def test_ash_prunes_every_frame_by_itself(variant):
    rows = []
    for row in OTHER["features"]:
        order = np.argsort(row)
        pruned = order[:round(0.65 * D)]
        shaped = row.astype(np.float64).copy()
        shaped[pruned] = 0
        if variant == "s":
            shaped *= np.exp(row.sum() / shaped.sum())
        if variant == "b":
            shaped[order[round(0.65 * D):]] = row.sum() / (D - len(pruned))
        rows.append(shaped)
    score = scores.ASH(65, variant, WEIGHT, BIAS).fit(OUTPUTS).score(OTHER)
    np.testing.assert_allclose(score, energy(np.array(rows)), rtol=1e-4)


def test_ash_leaves_a_silent_frame_finite():
    silent = {"features": np.zeros((1, D), np.float32), "logits": BIAS[None]}
    for variant in "spb":
        np.testing.assert_allclose(scores.ASH(variant=variant, weight=WEIGHT, bias=BIAS).fit(OUTPUTS).score(silent),
                                   energy(silent["features"]), rtol=1e-5)


def test_she_compares_with_the_predicted_classs_mean_of_right_frames():
    predicted = OUTPUTS["logits"].argmax(axis=1)
    labels = np.where(np.arange(N) % 3 == 0, (predicted + 1) % C, predicted)
    right = labels == predicted
    patterns = np.stack([FEATURES[right & (predicted == k)].mean(axis=0) for k in range(C)])
    expected = -(OTHER["features"] * patterns[OTHER["logits"].argmax(axis=1)]).sum(axis=1)
    np.testing.assert_allclose(scores.SHE().fit(OUTPUTS, labels).score(OTHER), expected, rtol=1e-4)


def test_fusion_adds_the_rarities_of_its_members():
    fusion = scores.Fusion([scores.Energy(), scores.MSP()], weights=[1, 3], held_out=0.5, seed=3).fit(OUTPUTS)
    table = np.random.RandomState(3).permutation(N)[:N // 2]
    total = 0
    for weight, member in ((1, scores.Energy()), (3, scores.MSP())):
        known = member.score({"logits": OUTPUTS["logits"][table]})
        share = (known[None] >= member.score(OUTPUTS)[:, None]).sum(axis=1)
        total = total - weight * np.log((share + 1) / (N // 2 + 1))
    ordinary = np.argsort(total)[:N // 2]  # beyond the last tenth the exponential tail takes over
    np.testing.assert_allclose(fusion.score(OUTPUTS)[ordinary], total[ordinary], rtol=1e-9)


def test_fusion_takes_tables_of_other_frames():
    fusion = scores.Fusion([scores.MaxLogit()]).fit(OUTPUTS).tabulate(OTHER)
    np.testing.assert_array_equal(fusion.tables[0].values, np.sort(-OTHER["logits"].max(axis=1).astype(np.float64)))
    with pytest.raises(ValueError, match="has no statistics yet"):
        scores.Fusion([scores.MSP()]).tabulate(OTHER)


def test_fusions_tail_goes_on_beyond_all_that_was_seen():
    from leanood.ood import tail

    table = tail.Counted(np.random.RandomState(1).exponential(size=20000))
    # An exponential's surprise is the value itself.
    np.testing.assert_allclose(table.log_p(np.array([1.0, 4.0, 12.0])), [1.0, 4.0, 12.0], rtol=0.1)
    values = np.linspace(0, 50, 2000)
    assert (np.diff(table.log_p(values)) >= 0).all()
    assert tail.Counted(np.zeros(5)).log_p(np.array([-1.0, 0.0, 1.0])).tolist() == [0.0, 0.0, np.log(6)]


@pytest.mark.parametrize("name", scores.NAMES)
def test_score_survives_being_stored(name, tmp_path):
    score = fitted(name)
    np.savez(tmp_path / "score.npz", **score.to_arrays())
    with np.load(tmp_path / "score.npz", allow_pickle=False) as arrays:
        again = scores.by_name(name).from_arrays(dict(arrays))
    np.testing.assert_array_equal(again.score(OTHER), score.score(OTHER))
    assert score.score(OTHER).dtype == np.float64
    assert score.score(OTHER).shape == (50,)
    assert scores.name(again) == name


@pytest.mark.parametrize("name", scores.NAMES)
def test_one_frame_scores_like_many_and_inputs_stay_as_they_are(name):
    score, before = fitted(name), {key: value.copy() for key, value in OTHER.items()}
    alone = [score.score({key: value[i:i + 1] for key, value in OTHER.items()})[0] for i in range(5)]
    np.testing.assert_allclose(alone, score.score(OTHER)[:5], rtol=1e-4, atol=1e-4)
    assert score.score({key: value[:0] for key, value in OTHER.items()}).shape == (0,)
    for key, value in before.items():
        np.testing.assert_array_equal(OTHER[key], value)


@pytest.mark.parametrize("name", ["msp", "entropy", "gen", "odin", "kl_matching"])
def test_softmax_scores_ignore_a_shift_of_the_logits(name):
    shifted = {"logits": OTHER["logits"].astype(np.float64) + 123.0}
    np.testing.assert_allclose(fitted(name).score(shifted), fitted(name).score(OTHER), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ["energy", "max_logit"])
def test_logit_scores_move_with_a_shift_of_the_logits(name):
    shifted = {"logits": OTHER["logits"].astype(np.float64) + 2.5}
    np.testing.assert_allclose(fitted(name).score(shifted), fitted(name).score(OTHER) - 2.5, rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in PLAIN if name != "early"])
def test_score_ignores_the_order_of_classes_and_frames(name):
    classes, frames = RNG.permutation(C), RNG.permutation(N)

    def reordered(outputs):
        return dict(outputs, logits=outputs["logits"][:, classes])

    mixed = {key: value[frames] for key, value in reordered(OUTPUTS).items()}
    score = fitted(name, mixed, np.argsort(classes)[LABELS][frames])
    np.testing.assert_allclose(score.score(reordered(OTHER)), fitted(name).score(OTHER), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
def test_distances_ignore_a_shift_and_a_rotation_of_the_features(name):
    rotation = np.linalg.qr(RNG.randn(D, D))[0]

    def moved(outputs):
        return dict(outputs, features=(outputs["features"] @ rotation + 5.0).astype(np.float32))

    score = fitted(name, moved(OUTPUTS)).score(moved(OTHER))
    np.testing.assert_allclose(score, fitted(name).score(OTHER), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", scores.NAMES)
def test_quantized_outputs_with_ties_score_finitely_and_equal_rows_equally(name):
    def quantized(outputs):
        return {key: np.round(value / 0.5).astype(np.int8) * np.float32(0.5) for key, value in outputs.items()}

    rows = quantized({key: np.concatenate([value[:6], value[:6]]) for key, value in OTHER.items()})
    score = fitted(name, quantized(OUTPUTS)).score(rows)
    assert np.isfinite(score).all()
    np.testing.assert_allclose(score[:6], score[6:], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", OF_LOGITS)
def test_integers_are_numbers_too(name):
    whole, score = np.round(OTHER["logits"]).astype(np.int8), fitted(name)
    np.testing.assert_allclose(score.score({"logits": whole}), score.score({"logits": whole.astype(float)}))


@pytest.mark.parametrize("name", scores.NAMES)
def test_one_class_scores_finitely(name):
    outputs = {"features": FEATURES, "logits": OUTPUTS["logits"][:, :1], "early": OUTPUTS["early"]}
    score = fitted(name, outputs, np.zeros(N, int)).score(outputs)
    assert np.isfinite(score).all()
    if name in ("msp", "odin", "entropy", "gen", "kl_matching"):
        assert (score == 0).all()  # one class is certain


@pytest.mark.parametrize("name", PLAIN)
def test_one_frame_is_enough_to_fit(name):
    single = {key: value[:1] for key, value in OUTPUTS.items()}
    score = fitted(name, single, LABELS[:1]).score(OTHER)
    assert np.isfinite(score).all()


@pytest.mark.parametrize("name", PLAIN)
def test_fewer_frames_than_features_score_finitely(name):
    few = {key: value[:9] for key, value in OUTPUTS.items()}
    assert np.isfinite(fitted(name, few, LABELS[:9]).score(OTHER)).all()


@pytest.mark.parametrize("name", ["mahalanobis", "early"])
def test_without_variance_the_distance_is_euclidean(name):
    still = {key: np.repeat(value[:1], 4, axis=0) for key, value in OUTPUTS.items()}
    score = fitted(name, still, np.zeros(4, int)).score(OTHER)
    which = "early" if name == "early" else "features"
    np.testing.assert_allclose(score, ((OTHER[which] - OUTPUTS[which][:1]) ** 2).sum(axis=1), rtol=1e-4)


@pytest.mark.parametrize("name", scores.NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_frames_that_are_no_numbers_are_refused(name, bad):
    broken = {key: value.copy() for key, value in OTHER.items()}
    for value in broken.values():
        value[3, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinity in row 3"):
        fitted(name).score(broken)
    if new(name).LEARNED or name == "fusion":
        with pytest.raises(ValueError, match="NaN or infinity in row 3"):
            fitted(name, broken, LABELS[:50])


def test_large_finite_values_are_no_infinities():
    huge = {"logits": np.full((2, C), 3e38, np.float32)}
    assert np.isfinite(scores.MSP().score(huge)).all()


@pytest.mark.parametrize("name", [name for name in scores.NAMES if new(name).LEARNED or name == "fusion"])
def test_scoring_or_storing_before_fitting_is_refused(name):
    with pytest.raises(ValueError, match="has no statistics yet"):
        new(name).score(OTHER)
    with pytest.raises(ValueError, match="has no statistics yet"):
        new(name).to_arrays()
    with pytest.raises(ValueError, match="needs the array"):
        scores.by_name(name).from_arrays({})


@pytest.mark.parametrize(("outputs", "text"), [
    ({"features": FEATURES}, "no output 'logits' among features"),
    ({"logits": np.zeros(3)}, r"shape \[3\]; a score reads \[N, D\]"),
    ({"logits": np.zeros((2, 0))}, r"shape \[2, 0\]"),
    ({"logits": np.array([["a"]])}, "a score reads real numbers"),
])
def test_outputs_that_do_not_fit_are_refused(outputs, text):
    with pytest.raises(ValueError, match=text):
        scores.Energy().score(outputs)


def test_other_refusals():
    with pytest.raises(ValueError, match="25 columns; the score was fitted on 24"):
        fitted("mahalanobis").score({"features": np.zeros((2, 25), np.float32)})
    with pytest.raises(ValueError, match="has no rows"):
        scores.KNN().fit({"features": FEATURES[:0]})
    with pytest.raises(ValueError, match=r"labels have shape \[3\]; 600 frames"):
        scores.Mahalanobis().fit(OUTPUTS, [1, 2, 3])
    with pytest.raises(ValueError, match="no frame's predicted class is its label"):
        scores.SHE().fit(OUTPUTS, np.full(N, 77))
    with pytest.raises(ValueError, match="there is no score 'enery'; the scores are msp, "):
        scores.by_name("enery")
    for make, text in ((lambda: scores.Energy(0), "temperature is 0"), (lambda: scores.GEN(gamma=-1), "gamma is -1"),
                       (lambda: scores.ReAct(100), "percentile is 100"),
                       (lambda: scores.ASH(variant="x"), "variant is 'x'"),
                       (lambda: scores.KNN(neighbours=0), "neighbours is 0"),
                       (lambda: scores.ViM(0), "dimensions is 0"),
                       (lambda: scores.Mahalanobis(shrinkage=2).fit(OUTPUTS), "shrinkage is 2"),
                       (lambda: scores.DICE(bias=BIAS), "bias is given without weight"),
                       (lambda: scores.Fusion([]), "members is empty"),
                       (lambda: scores.Fusion([scores.MSP()], [0]), "not all zero"),
                       (lambda: scores.Fusion([scores.MSP()]).fit({"logits": BIAS[None]}), "needs two frames")):
        with pytest.raises(ValueError, match=text):
            make()


def test_statistics_of_another_model_are_warned_of(tmp_path):
    from leanood.ood.scores import file

    path = str(tmp_path / "energy.npz")
    score = fitted("relative_mahalanobis")
    file.save(path, score, b"the float32 model", "float32 ResNet-18")
    np.testing.assert_array_equal(file.load(path, b"the float32 model").score(OTHER), score.score(OTHER))
    with pytest.warns(UserWarning, match="fitted on float32 ResNet-18 .*, but this model is sha256"):
        file.load(path, b"the int8 model")
    (tmp_path / "bad.npz").write_bytes(b"PK but no archive")
    with pytest.raises(ValueError, match="holds no score statistics"):
        file.load(str(tmp_path / "bad.npz"))
