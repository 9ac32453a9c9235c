"""The paper's nonconformity: which latents it keeps, and that its two paths give the same bits."""
import numpy as np
import pytest

from leanood.ood import kl, kl_topk, ranking


def outputs(count, seed=0, latents=30):
    rng = np.random.default_rng(seed)
    return {"mu": rng.normal(0, 2, (count, latents)).astype(np.float32),
            "logvar": rng.normal(-1, 1, (count, latents)).astype(np.float32)}


@pytest.mark.parametrize("k", [1, 5, 9])
@pytest.mark.parametrize("by", ["variance", "mean", "scenes"])
def test_sums_the_kl_of_each_partitions_best_latents(k, by):
    train, test = outputs(300), outputs(50, seed=1)
    partition = np.repeat(["bright", "medium", "bright"], 100)
    starts = np.arange(300) % 20 == 0
    fitted = kl_topk.KlTopK(k, by).fit(train, partition, starts)
    assert fitted.partitions == ("bright", "medium")
    assert fitted.warnings == ()
    divergence = kl.per_latent(train["mu"], train["logvar"])
    for column, name in enumerate(fitted.partitions):
        members = partition == name
        best = ranking.rank(divergence[members], starts[members], by).order[:k]
        np.testing.assert_allclose(fitted.score(test)[:, column],
                                   kl.per_latent(test["mu"][:, best], test["logvar"][:, best]).sum(axis=1))


def test_one_frame_scores_the_same_bits_as_many():
    fitted = kl_topk.KlTopK(5).fit(outputs(100), np.repeat(["a", "b"], 50))
    test = outputs(333, seed=2)
    scores = fitted.score(test)
    for t in range(333):
        frame = {name: array[t:t + 1] if t % 2 else array[t] for name, array in test.items()}
        assert list(fitted.score_frame(frame, t == 0)) == scores[t].tolist()


def test_a_scene_ends_where_its_partition_ends():
    train = outputs(60)
    partition = np.array(["a"] * 10 + ["b"] * 10 + ["a"] * 40)
    starts = np.arange(60) == 0  # one drive through a, b and a again
    fitted = kl_topk.KlTopK(2, "scenes").fit(train, partition, starts)
    divergence = kl.per_latent(train["mu"], train["logvar"])[partition == "a"]
    expected = ranking.rank(divergence, np.isin(np.arange(50), [0, 10]), "scenes").order[:2]
    assert fitted.latents[0].tolist() == expected.tolist()


def test_says_where_it_fell_back_on_unordered_images():
    fitted = kl_topk.KlTopK(rank_by="scenes").fit(outputs(10))
    assert fitted.partitions == ("all",)
    assert len(fitted.warnings) == 1
    assert "partition 'all': latents are ranked by the variance of their KL" in fitted.warnings[0]


def test_says_where_the_latents_tell_nothing():
    rest = {"mu": np.zeros((40, 3), np.float32), "logvar": np.full((40, 3), -1e-4, np.float32)}
    measure = kl_topk.KlTopK().fit(rest)
    assert "the encoder tells nothing, and the detector is blind" in measure.warnings[0]
    assert kl_topk.KlTopK().fit(outputs(40)).warnings == ()


def test_round_trip():
    fitted = kl_topk.KlTopK(3).fit(outputs(40), np.repeat(["a", "b"], 20))
    again = kl_topk.KlTopK.from_arrays(fitted.to_arrays())
    assert again.partitions == fitted.partitions
    assert again.k == 3
    np.testing.assert_array_equal(again.score(outputs(5)), fitted.score(outputs(5)))


def test_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="k, the number of latents per partition, must be at least 1, not 0"):
        kl_topk.KlTopK(0)
    with pytest.raises(ValueError, match="rank_by is 'luck'; latents can be ranked by variance, mean, scenes"):
        kl_topk.KlTopK(rank_by="luck")
    with pytest.raises(ValueError, match="k = 31 latents per partition were asked for, the encoder has 30"):
        kl_topk.KlTopK(31).fit(outputs(10))
    with pytest.raises(ValueError, match="don't fit partitions"):
        kl_topk.KlTopK.from_arrays({"partitions": np.array(["a"]), "latents": np.zeros((2, 1), np.int64)})
