"""With too few images to say anything of, what is told is what to do, and not what an array of ours lacks."""
import cv2
import numpy as np
import pytest

from leanood.ood import gaussian
from leanood.tflite import bundle
from leanood.workflow import calibrate, evaluate, info

PLAIN = {"corruptions": [], "benign": []}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """images(count): a folder of so many."""
    def make(count, **parts):
        folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
        for part, (number, level) in {"day": (count, 140), **parts}.items():
            (folder / part).mkdir()
            for i in range(number):
                picture = np.clip(random.normal(level, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / part / f"{i}.png"), picture)
        return str(folder)

    return make


@pytest.fixture(scope="module")
def detector(images, tiny_models, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("detector") / "d.tflite")
    calibrate.calibrate(tiny_models / "classifier_float32.tflite", images(120, night=(1, 20)), path, benign_variants=0,
                        ood_partitions=["night"])
    return path


def test_one_ood_image_has_a_row_without_an_interval(detector, images):
    report = evaluate.evaluate(detector, **PLAIN)
    row, = report.rows
    assert (row["set"], row["n_ood"]) == ("night", 1)
    assert row["auroc_low"] is None
    assert 0 <= row["auroc"] <= 1
    assert "night" in str(report)
    assert evaluate.evaluate(detector, ood=[images(1)], **PLAIN).rows[1]["auroc_low"] is None


def test_ood_sets_of_one_name_are_told_apart(detector, images):
    dusk, first, second = (images(1, night=(1, 30), dusk=(1, 60)) for _ in range(3))
    given = [f"{dusk}/dusk", f"{first}/night", f"{second}/night"]
    assert [row["set"] for row in evaluate.evaluate(detector, ood=given, **PLAIN).rows] == [
        "night", "dusk", given[1], given[2]]


@pytest.mark.parametrize(("count", "message"), [
    (1, r"no in-distribution frame in its split 'train'; give more images"),
    (8, r"4 readable in-distribution images in its split 'train'; what the detector is compared with takes 7")])
def test_few_images_are_asked_to_be_more(detector, images, count, message):
    with pytest.raises(ValueError, match=message):
        evaluate.evaluate(detector, images(count), **PLAIN)


def test_a_stretch_that_cannot_turn_ood_is_named(tiny_detector, images):
    with pytest.raises(ValueError, match=r"--stretch_s=0.1 is 2 frames at 20 a second; a stretch .* at least 4"):
        evaluate.evaluate(tiny_detector, f"sequences:{images(80)}", stretch_s=0.1, **PLAIN)


def test_a_gaussian_of_two_frames_is_no_crash():
    with pytest.raises(ValueError, match="a Gaussian over 6 features can't be fitted to 2 frames; give more"):
        gaussian.Gaussian.fit(np.array([np.zeros(6), np.arange(1.0, 7)]))


def test_info_says_that_a_calibration_is_of_no_use(tiny_detector, tmp_path):
    parts = bundle.read(tiny_detector)
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(tmp_path / "d.tflite", parts.model, fields, {"nothing": np.zeros(1)})
    said = str(info.info(tmp_path / "d.tflite", try_here=False))
    assert "its calibration is not usable:" in said
    with pytest.raises(bundle.DetectorFileError, match="its calibration is not usable: "):
        bundle.load(tmp_path / "d.tflite")
