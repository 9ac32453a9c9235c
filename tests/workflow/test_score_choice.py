"""A classifier's default score is the one that its file's outputs ask for: logits, features, or nothing to go by."""
import dataclasses
import re
import types
import zlib

import numpy as np
import pytest
from sklearn import metrics

from leanood.data import content_changes, corruptions, dataset, frames, leaves, variants
from leanood.ood import classifier_score, scores
from leanood.tflite import bundle
from leanood.workflow import calibrate, candidates, info, material, network, score_choice, stand_ins

SIZE = (24, 32)


def _pictures(count, size=SIZE):
    """Skies over fields, of three hues: nothing like leaves, stripes or noise."""
    random = np.random.default_rng(0)
    rows = np.linspace(1, 0.3, size[0])[:, None, None]
    hues = np.array([(200, 120, 60), (60, 200, 120), (120, 60, 200)])
    return [np.clip(hues[i % 3] * rows * random.uniform(0.8, 1) + random.normal(0, 3, (*size, 3)), 0, 255)
            .astype(np.uint8) for i in range(count)]


def _data(count=160, size=SIZE, **changed):
    pictures = _pictures(count, size)
    split = np.array(["train", "calibration", "validation", "train"])[np.arange(count) % 4]
    return dataset.Dataset(**{
        "names": tuple(f"{i}.png" for i in range(count)), "partition": np.array(["a", "b", "c"])[np.arange(count) % 3],
        "sequence": np.full(count, -1), "split": split, "ood": np.zeros(count, bool), "partition_kind": "subset",
        "fps": 0.0, "read": lambda i: pictures[i], "description": "pictures", **changed})


def _statistics(images):
    """What an untrained eye sees, float32 [N, 9]: colours, their spread, edges."""
    values = images.astype(np.float32) / 255
    return np.concatenate([values.mean((1, 2)), values.std((1, 2)), np.abs(np.diff(values, axis=2)).mean((1, 2))], 1)


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(score_choice, "JUDGED", 20)


class _Runner:
    """A classifier of three hues; one of its outputs knows what it has been shown, the other is noise."""

    accelerator, runtime = "cpu", "none"

    def __init__(self, telling, width=9, **broken):
        self.telling, self.broken = telling, broken
        self.outputs = {"logits": types.SimpleNamespace(shape=(1, 3)),
                        "features": types.SimpleNamespace(shape=(1, width))}

    def each(self, images):
        statistics = _statistics(images)
        noise = np.stack([np.random.default_rng(zlib.crc32(image.tobytes())).normal(size=12) for image in images])
        logits, features = -40 * np.abs(statistics[:, None] - _CLASSES).sum(axis=2), noise[:, :9]
        if self.telling == "features":
            logits, features = noise[:, 9:], statistics
        return {"logits": logits.astype(np.float32), "features": features.astype(np.float32), **{
            name: np.full((len(images), 3), value, np.float32) for name, value in self.broken.items()}}


_CLASSES = _statistics(np.stack(_pictures(60))).reshape(20, 3, 9).mean(axis=0)


def _calibrated(runner, data=None, detector=calibrate.AUTO, **settings):
    loaded = network.Network([runner, runner], SIZE)
    return calibrate.fit(loaded, data or _data(), calibrate.Settings(detector=detector, **{
        "benign_variants": 1, **settings}))


@pytest.mark.parametrize(("telling", "silent"), [("energy", "mahalanobis"), ("mahalanobis", "energy")])
def test_the_output_that_tells_is_taken(telling, silent):
    result = _calibrated(_Runner({"energy": "logits", "mahalanobis": "features"}[telling]))
    figures, chosen = result.summary["candidates"], result.summary["detector"]
    assert telling in chosen.split("+")
    assert chosen == telling or figures[chosen]["mean"] > figures[telling]["mean"]
    assert result.detector.nonconformity.inputs == classifier_score.named(chosen).inputs
    assert set(figures) == set(score_choice.CANDIDATES)
    assert figures[telling]["mean"] > figures[silent]["mean"] + 0.2
    assert result.summary["chosen_by"] == "20 validation frames and benign variants against 12 changes of them"


def test_figures_are_those_of_scores_by_hand():
    data, runner = _data(size=(30, 20)), _Runner("features")  # frames of another size and shape than the network's
    figures = _calibrated(runner, data).summary["candidates"]
    plain = _calibrated(runner, data, benign_variants=0).summary["candidates"]
    validation = np.flatnonzero(data.split == "validation")
    places = np.linspace(0, len(validation) - 1, 20).round().astype(int)
    pictures = [data.read(i) for i in validation[places]]
    pictures = [frames.resize(picture, SIZE) for picture in pictures]
    fit = runner.each(np.stack([frames.resize(data.read(i), SIZE) for i in np.flatnonzero(data.split == "train")]))
    content = [[picture[::-1] for picture in pictures],
               [content_changes.change("blended", picture, i, pictures[(i + 6) % 20])
                for i, picture in enumerate(pictures)],
               [content_changes.change("pasted object", picture, i, leaves.image((64, 64), i))
                for i, picture in enumerate(pictures)],
               [content_changes.change("occlusion 3", picture, i) for i, picture in enumerate(pictures)]]
    spoilt = [[corruptions.corrupt(name, picture, 3, seed=i) for i, picture in enumerate(pictures)]
              for name in ("darker", "brighter", "rain", "fog", "motion_blur", "noise", "dead_pixels", "glare")]
    varied = [variants.draw((material.SPLITS.index("validation"), 0, place))(picture, seed=0, time=place)
              for place, picture in zip(places.tolist(), pictures)]  # the first benign variant of each
    for name in ("energy", "mahalanobis"):
        score = scores.by_name(name)().fit(fit, data.partition[data.split == "train"])
        for silent, told in ((pictures, plain), (pictures + varied, figures)):
            truth = np.arange(len(silent) + 20) >= len(silent)
            means = [np.mean([metrics.roc_auc_score(truth, score.score(runner.each(np.stack(
                silent + changed)))) for changed in group]) for group in (content, spoilt)]
            assert told[name] == pytest.approx(
                {"content": means[0], "corruptions": means[1], "mean": np.mean(means)}, abs=1e-3)


def test_energy_unless_another_is_a_point_better():
    def best(*means):
        return score_choice.best([score_choice.Candidate(name, mean, mean, mean) for name, mean in zip("ab", means)]
                                 + [score_choice.Candidate("energy", 0.74, 0.74, 0.74)])

    assert best(0.7, 0.749) == "energy"
    assert best(0.752, 0.753) == "b"
    assert best(0.753, 0.752) == "a"


@pytest.mark.parametrize(("runner", "data", "reason"), [
    (_Runner("features"), _data(100), "the default: 25 frames of validation are too few to compare scores by, 30 are"),
    (_Runner("features", width=5000), _data(), "the default: the output 'features' has 5000 numbers a frame"),
    (_Runner("features", features=np.nan), _data(), "the default: the output 'features' is NaN or infinite")])
def test_where_nothing_can_be_compared_energy_stays_and_says_why(runner, data, reason):
    result = _calibrated(runner, data)
    assert result.summary["detector"] == "energy"
    assert result.summary["chosen_by"].startswith(reason)
    assert "candidates" not in result.summary


def test_frames_that_cannot_be_read_are_left_out():
    whole = _data()

    def read(i):
        if i % 10 == 2:
            raise frames.FrameError(f"{i}.png: torn")
        return whole.read(i)

    result = _calibrated(_Runner("features"), _data(read=read))
    assert "mahalanobis" in result.summary["detector"]
    assert result.summary["chosen_by"].startswith("20 validation frames")


def test_recordings_are_judged_frame_by_frame():
    data = _data(fps=20.0, sequence=np.arange(160) // 40)
    result = _calibrated(_Runner("features"), data)
    assert "mahalanobis" in result.summary["detector"]
    with pytest.raises(ValueError, match="window is 10, but a classifier's score judges single images: leave it out"):
        _calibrated(_Runner("features"), data, window=10)


def test_who_names_a_detector_gets_it_and_no_comparison(monkeypatch):
    monkeypatch.setattr(score_choice, "choose", None)
    assert _calibrated(_Runner("features"), detector="energy").summary["detector"] == "energy"
    alone = _Runner("features")
    del alone.outputs["features"]
    each = alone.each
    alone.each = lambda images: {"logits": each(images)["logits"]}
    assert "chosen_by" not in _calibrated(alone).summary


def test_a_studys_candidates_have_the_baselines_score(monkeypatch):
    bench = candidates.Candidates.__new__(candidates.Candidates)
    bench._calibration = calibrate.Settings(detector=calibrate.AUTO, seed=3)
    monkeypatch.setattr(bench, "make", lambda recipe: recipe)
    monkeypatch.setattr(bundle, "read", lambda path: types.SimpleNamespace(
        detector={"calibration": {"detector": {"float32": "mahalanobis"}[path]}}))
    assert bench._settled("float32").detector == calibrate.AUTO
    assert bench._settled("int8") == dataclasses.replace(bench._calibration, detector="mahalanobis")
    bench._calibration = calibrate.Settings(detector="vim")
    assert bench._settled("int8").detector == "vim"


def test_a_score_that_benign_variants_set_off_is_warned_of():
    class Fine(_Runner):
        """Its features are the finest detail, which a codec or a little noise changes."""

        def each(self, images):
            fine = np.abs(np.diff(images.astype(np.float32), n=2, axis=2)).mean(axis=(1, 2))
            return {**super().each(images), "features": np.concatenate([fine, fine ** 2, np.sqrt(fine)], axis=1)}

    def warned(runner, **settings):
        return [warning for warning in _calibrated(runner, detector="mahalanobis", **settings).summary["warnings"]
                if warning.startswith("of benign variants")]

    told, = warned(Fine("features"))
    share = float(re.search(r"([\d.]+)% are flagged where 5.0% was asked: it will alarm on frames that", told)[1])
    assert 10 < share <= 100
    assert not warned(Fine("features"), benign_variants=0)
    assert not warned(Fine("features"), false_positive_rate=0.6)


def test_the_file_tells_what_was_chosen_and_by_what(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setattr(score_choice, "FEWEST", 10)
    result = calibrate.calibrate(tiny_models / "classifier_float32.tflite", _data(80), str(tmp_path / "d.tflite"),
                                 benign_variants=0)
    chosen = result.summary["detector"]
    assert set(result.summary["candidates"]) == set(score_choice.CANDIDATES)
    text = str(result)
    assert "mean AUROC  chosen" in text
    assert "20 validation frames against 12 changes of them" in text
    told = bundle.read(tmp_path / "d.tflite").detector["calibration"]
    assert told["detector"] == chosen
    assert told["candidates"] == result.summary["candidates"]
    said = str(info.info(tmp_path / "d.tflite", try_here=False))
    assert f"calibration.candidates.{chosen}.mean" in said


@pytest.mark.parametrize("size", [(6, 6), (16, 16), (9, 40), (40, 9)])
def test_every_stand_in_works_at_every_size(size):
    data = _data(4, size)
    for kind in (*score_choice.CONTENT, *score_choice.CORRUPTIONS):
        changed = stand_ins.change(kind, data)(data.read(0), 0)
        assert changed.shape == (*size, 3)
        assert (changed != data.read(0)).any() or min(size) < 16


def test_a_choice_asks_nothing_of_test_frames():
    whole = _data()
    split = whole.split.copy()
    split[3::8] = "test"
    asked = set()

    def read(i):
        asked.add(i)
        return whole.read(i)

    loaded = network.Network([_Runner("features")], SIZE)
    choice = score_choice.choose(loaded, material.gather(
        loaded, dataclasses.replace(whole, split=split, read=read), benign_variants=0))
    assert choice.candidates
    assert asked == set(np.flatnonzero(split != "test"))
