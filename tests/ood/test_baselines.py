"""The trivial baselines, recomputed frame by frame, and their figures on real images."""
import csv
import zipfile

import numpy as np
import pytest

from leanood.ood import baselines, metrics

KINDS = [baselines.Colour, baselines.Brightness, baselines.Sharpness]


def frames(count, seed=0, size=(12, 16)):
    rng = np.random.default_rng(seed)
    level = rng.integers(40, 160, (count, 1, 1, 3))
    return (level + rng.integers(0, 60, (count, *size, 3))).astype(np.uint8)


def test_colour_is_the_mahalanobis_distance_of_six_numbers():
    train, test = frames(200), frames(5, seed=1)

    def six(batch):
        return np.array([[*(frame[..., c].mean() for c in range(3)), *(frame[..., c].std() for c in range(3))]
                         for frame in batch.astype(np.float64)])

    away = six(test) - six(train).mean(axis=0)
    expected = [row @ np.linalg.inv(np.cov(six(train).T)) @ row for row in away]
    np.testing.assert_allclose(baselines.Colour().fit(train).score(test), expected, rtol=1e-4)


def test_motion_is_the_mahalanobis_distance_of_four_numbers():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(60, 200, (count, 1, 1, 1)) + rng.integers(0, 50, (count, 8, 6, 3))
                   for count in (200, 5))

    def four(batch):
        return np.array([[half.mean() for half in (image[:4], image[4:])]
                        + [half.std() for half in (image[:4], image[4:])]
                         for image in batch])

    away = four(test) - four(train).mean(axis=0)
    expected = [row @ np.linalg.inv(np.cov(four(train).T)) @ row for row in away]
    result = baselines.Motion().fit(train.astype(np.uint8)).score(test.astype(np.uint8))
    np.testing.assert_allclose(result, expected, rtol=1e-4)


def test_colour_of_grey_frames_is_finite():
    grey = np.repeat(frames(100)[..., :1], 3, axis=3)
    assert np.isfinite(baselines.Colour().fit(grey).score(grey)).all()


@pytest.mark.parametrize(("direction", "dark", "bright"), [(0, 5, 5), (-1, 5, -5), (1, -5, 5)])
def test_brightness_is_ood_on_the_side_it_is_told(direction, dark, bright):
    train = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (90, 110)])  # mean 100, deviation 10
    score = baselines.Brightness(direction).fit(train).score(np.stack([np.full((4, 4, 3), value, np.uint8)
                                                                       for value in (50, 150)]))
    assert score.tolist() == [dark, bright]


def test_sharpness_finds_blur_and_noise():
    train = frames(50)
    blurred = np.repeat(train.mean(axis=(1, 2), keepdims=True).astype(np.uint8), 12, axis=1).repeat(16, axis=2)
    noisy = np.where(np.random.default_rng(0).random(train.shape) < 0.3, 255, train).astype(np.uint8)
    judge = baselines.Sharpness().fit(train)
    for ood in (blurred, noisy):
        assert metrics.evaluate(judge.score(frames(50, seed=1)), judge.score(ood)).auroc == 1.0


def test_sharpness_is_the_variance_of_the_laplacian():
    train, test = frames(20), frames(2, seed=1)

    def number(frame):
        grey = frame.astype(np.float64).mean(axis=2)
        return np.log(1 + np.var([grey[i - 1, j] + grey[i + 1, j] + grey[i, j - 1] + grey[i, j + 1] - 4 * grey[i, j]
                                  for i in range(1, 11) for j in range(1, 15)]))

    train_numbers = [number(frame) for frame in train]
    expected = [abs(number(frame) - np.mean(train_numbers)) / np.std(train_numbers) for frame in test]
    np.testing.assert_allclose(baselines.Sharpness().fit(train).score(test), expected, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind):
    judge = kind().fit(frames(100))
    assert tuple(judge.to_arrays()) == kind.PARTS
    np.testing.assert_array_equal(kind.from_arrays(judge.to_arrays()).score(frames(9, seed=2)),
                                  judge.score(frames(9, seed=2)))


def test_windowed_is_a_trailing_mean_within_the_sequence():
    rng = np.random.default_rng(0)
    scores, starts = rng.normal(size=50), np.isin(np.arange(50), [0, 3, 30])
    begins = [0, 3, 30]
    expected = [scores[max(max(b for b in begins if b <= t), t - 4):t + 1].mean() for t in range(50)]
    np.testing.assert_allclose(baselines.windowed(scores, starts, 5), expected)
    scores[40] = np.inf
    assert np.flatnonzero(np.isinf(baselines.windowed(scores, starts, 5))).tolist() == [40, 41, 42, 43, 44]


def test_figures_on_real_roads(real_data):
    cv2 = pytest.importorskip("cv2")
    sets = {"train": [], "test": [], "dark": [], "red": [], "green": []}
    rows = csv.DictReader((real_data / "data" / "duckietown_split.csv").read_text().splitlines())
    with zipfile.ZipFile(real_data / "data" / "duckietown.zip") as archive:
        for row in rows:
            name = row["image"].split("/")[0] if row["split"] == "ood" else row["split"]
            if name in sets:
                image = cv2.imdecode(np.frombuffer(archive.read(row["image"]), np.uint8), cv2.IMREAD_COLOR)
                sets[name].append(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)[..., ::-1])
    sets = {name: np.array(images) for name, images in sets.items()}
    for judge, expected in [(baselines.Colour(), {"dark": 0.81, "red": 0.986, "green": 0.959}),
                            (baselines.Brightness(-1), {"dark": 0.94})]:
        judge.fit(sets["train"])
        for name, auroc in expected.items():
            measured = metrics.evaluate(judge.score(sets["test"]), judge.score(sets[name])).auroc
            assert measured == pytest.approx(auroc, abs=0.006), name


def test_refuses_what_are_no_frames():
    with pytest.raises(ValueError, match=r"uint8 RGB frames \[N, h, w, 3\], not float64 \[2, 3\]"):
        baselines.Brightness().fit(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="direction must be -1, 0 or 1, not 2"):
        baselines.Sharpness(2)
    with pytest.raises(ValueError, match="needs more than 6 frames to fit, not 6"):
        baselines.Colour().fit(frames(6))
    with pytest.raises(ValueError, match="window must be at least one frame"):
        baselines.windowed(np.zeros(3), np.zeros(3, bool), 0)
