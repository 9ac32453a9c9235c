"""The scores agree with pytorch-ood's, where it has them (pip install 'leanood[test-extra]')."""
import numpy as np
import pytest

from leanood.ood import scores

torch = pytest.importorskip("torch")
detectors = pytest.importorskip("pytorch_ood.detector")

RNG = np.random.RandomState(0)
N, D, C = 900, 20, 4
LABELS = np.arange(N) % C
FEATURES = np.maximum(RNG.randn(N, D) + 2 * RNG.randn(C, D)[LABELS] + 0.5, 0).astype(np.float32)
WEIGHT, BIAS = RNG.randn(D, C).astype(np.float32), RNG.randn(C).astype(np.float32)
OUTPUTS = {"features": FEATURES, "logits": FEATURES @ WEIGHT + BIAS}
PREDICTED = OUTPUTS["logits"].argmax(axis=1)
Z, Y = torch.from_numpy(FEATURES), torch.from_numpy(LABELS)
LOGITS = torch.from_numpy(OUTPUTS["logits"])
W, B = torch.from_numpy(WEIGHT.T.copy()), torch.from_numpy(BIAS)


@pytest.mark.parametrize(("ours", "theirs", "shift", "scale"), [
    (scores.MSP(), detectors.MaxSoftmax.score, 1.0, 1.0), (scores.MaxLogit(), detectors.MaxLogit.score, 0.0, 1.0),
    (scores.Energy(), detectors.EnergyBased.score, 0.0, 1.0), (scores.Entropy(), detectors.Entropy.score, 0.0, 1.0),
    (scores.GEN(), detectors.GEN.score, 0.0, C)], ids=lambda value: getattr(value, "__qualname__", ""))
def test_scores_of_logits(ours, theirs, shift, scale):
    # pytorch-ood negates the probability where we take its complement, and averages GEN's terms where we add them;
    # it cuts probabilities at 1e-7, which GEN's exponent of 0.1 shows.
    gentle = {"logits": OUTPUTS["logits"] / 10}
    np.testing.assert_allclose(ours.score(gentle), scale * theirs(LOGITS / 10).numpy() + shift, rtol=2e-3, atol=1e-5)


def test_kl_matching():
    theirs = detectors.KLMatching(None).fit_logits(LOGITS / 10).predict_logits(LOGITS / 10)
    gentle = {"logits": OUTPUTS["logits"] / 10}
    np.testing.assert_allclose(scores.KLMatching().fit(gentle).score(gentle), theirs.detach(), rtol=1e-3, atol=1e-5)


def test_mahalanobis():
    # Theirs is half the distance, of an unnormalised scatter, with next to no shrinkage.
    theirs = detectors.Mahalanobis(None).fit_features(Z, Y).predict_features(Z)
    ours = scores.Mahalanobis(shrinkage=1e-6).fit(OUTPUTS, LABELS).score(OUTPUTS)
    np.testing.assert_allclose(ours, 2 * N * theirs.numpy(), rtol=2e-3)


def test_relative_mahalanobis():
    theirs = detectors.RMD(None).fit_features(Z, Y).predict_features(Z)
    ours = scores.RelativeMahalanobis(shrinkage=1e-6).fit(OUTPUTS, LABELS).score(OUTPUTS)
    # Theirs adds the class distances to a half-distance-free background: min_k d_k - d_0 of unnormalised scatters.
    assert np.corrcoef(ours, theirs.numpy())[0, 1] > 0.999
    np.testing.assert_allclose(ours, N * theirs.numpy(), rtol=5e-3, atol=0.05)


def test_knn():
    theirs = detectors.KNN(None, k=7).fit_features(Z, Y).predict_features(Z)
    np.testing.assert_allclose(scores.KNN(7, rows=None).fit(OUTPUTS).score(OUTPUTS), theirs.numpy(), atol=1e-3)


def test_vim():
    theirs = detectors.ViM(None, d=8, w=W, b=B).fit_features(Z, Y).predict_features(Z)
    ours = scores.ViM(8, WEIGHT, BIAS).fit(OUTPUTS).score(OUTPUTS)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-3)


def test_dice():
    theirs = detectors.DICE(None, w=W, b=B, p=0.7).fit_features(Z, Y).predict_features(Z)
    ours = scores.DICE(70, WEIGHT, BIAS).fit(OUTPUTS).score(OUTPUTS)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-4)


def test_she():
    labels = np.where(np.arange(N) % 5 == 0, (PREDICTED + 1) % C, PREDICTED)
    detector = detectors.SHE(None, lambda z: z @ W.T + B).fit_features(Z, torch.from_numpy(labels))
    ours = scores.SHE().fit(OUTPUTS, labels).score(OUTPUTS)
    np.testing.assert_allclose(ours, detector.predict_features(Z).numpy(), rtol=1e-4)


def test_react():
    limit = float(np.percentile(FEATURES, 90))
    detector = detectors.ReAct(None, lambda z: z @ W.T + B, threshold=limit)
    ours = scores.ReAct(90, WEIGHT, BIAS).fit(OUTPUTS).score(OUTPUTS)
    np.testing.assert_allclose(ours, detector.predict_feature_maps(Z).numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant", ["s", "p", "b"])
def test_ash(variant):
    active = FEATURES + 0.01 * RNG.rand(N, D).astype(np.float32)  # without ties, which each breaks its own way
    outputs = {"features": active, "logits": active @ WEIGHT + BIAS}
    detector = detectors.ASH(lambda z: z, lambda z: z.flatten(1) @ W.T + B, f"ash-{variant}", 0.65)
    theirs = detector.predict_feature_maps(torch.from_numpy(active)[:, :, None, None])
    ours = scores.ASH(65, variant, WEIGHT, BIAS).fit(outputs).score(outputs)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-3, atol=1e-3)
