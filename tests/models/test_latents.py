"""What latents carry: recomputed by hand, and the warnings where none or all are active."""
import numpy as np

from leanood.models import latents
from leanood.ood import kl


def posterior(scale):
    rng = np.random.default_rng(0)
    mu = rng.normal(0, 1, (200, 3)) * np.array(scale)
    return mu, kl.per_latent(mu, np.where(np.array(scale) < 0.1, -0.01, -1.0) * np.ones((200, 3)))


def test_nats_activity_and_correlation():
    mu, nats = posterior([1.0, 0.5, 0.01])
    light = 3 - 2 * mu[:, 1]
    description = latents.describe(mu, nats, {"light": light})
    by_hand = (mu ** 2 + np.exp([-1.0, -1.0, -0.01]) + [1.0, 1.0, 0.01] - 1) / 2
    np.testing.assert_allclose(description.nats, by_hand.mean(axis=0))
    assert description.active.tolist() == [True, True, False]
    np.testing.assert_allclose(description.correlations["light"],
                               [np.corrcoef(mu[:, i], light)[0, 1] for i in range(3)])
    assert description.warning == ""
    assert [row[0] for row in description.rows()] == np.argsort(-description.nats).tolist()
    assert len(description.headers()) == len(description.rows()[0])


def test_frames_of_unknown_level_are_left_out():
    mu, nats = posterior([1.0, 1.0, 1.0])
    level = np.where(np.arange(200) < 100, mu[:, 0], np.nan)
    r = latents.describe(mu, nats, {"rain": level, "still": np.ones(200)}).correlations
    np.testing.assert_allclose(r["rain"][:2], [1, np.corrcoef(mu[:100, 1], mu[:100, 0])[0, 1]])
    assert r["still"].tolist() == [0, 0, 0]


def test_warns_of_none_and_of_all():
    assert "no latent is active" in latents.describe(*posterior([0.01] * 3), {}).warning
    assert "all 3 latents are active" in latents.describe(*posterior([1.0] * 3), {}).warning
