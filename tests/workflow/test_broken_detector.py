"""A detector whose score never moves is called broken, not reported at an AUROC of 0.500."""
import types

import numpy as np
import pytest

from leanood.data import catalog
from leanood.ood import detector as detector_
from leanood.ood import kl_topk
from leanood.workflow import evaluate
from leanood.workflow import network as network_

SETTINGS = evaluate.Settings(severities=(5,), corruptions=("darker",))


class Network:
    """Stands in for a runner: latents that follow brightness, or none that do."""

    runtime, accelerator = "none", "cpu"

    def __init__(self, follows):
        self._follows = follows

    def each(self, images):
        light = images.mean(axis=(1, 2, 3), dtype=np.float64)[:, None] / 64 - 2
        mu = np.concatenate([light, 0 * light], axis=1) * self._follows
        return {"mu": mu, "logvar": np.full_like(mu, -1.0)}


def loaded(network):
    rng = np.random.default_rng(0)
    train = network.each(rng.integers(0, 256, (60, 1, 1, 3)))
    judge = detector_.Detector.calibrate(kl_topk.KlTopK().fit(train), train, window=0)
    detector = types.SimpleNamespace(detector=judge, config={"detector": "kl-topk"})
    return detector, network_.Network([network], (16, 16))


@pytest.fixture(scope="module")
def lanes():
    return catalog.open("lanes:frames=120,size=16x16,scene=10")


def test_a_constant_score_is_called_broken(lanes):
    with pytest.raises(ValueError, match=r"the detector \(kl-topk\) is broken, not at chance: its score is the same"):
        evaluate.score(*loaded(Network(0)), lanes, SETTINGS)


def test_one_that_moves_is_reported(lanes):
    rows = evaluate.score(*loaded(Network(1)), lanes, SETTINGS).rows
    assert [row["constant"] for row in rows] == [False]
    assert rows[0]["auroc"] > 0.9
