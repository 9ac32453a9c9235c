"""The map of where a frame is odd: recomputed cell by cell, small things found, a frame at a time, storage, slips."""
import numpy as np
import pytest

from leanood.ood import detector, local, nonconformity, typicality

CELLS, CHANNELS = (4, 6), 5


def maps(seed=0, count=300):
    """Maps [N, 4, 6, 5] that differ from cell to cell, channels varying together; lower rows more."""
    rng = np.random.default_rng(seed)
    place = np.random.default_rng(99).normal(0, 3, (*CELLS, CHANNELS))
    mixing = np.random.default_rng(98).normal(0, 1, (CHANNELS, CHANNELS))
    noise = rng.normal(0, 1, (count, *CELLS, CHANNELS)) @ mixing
    return (place + noise * np.linspace(0.5, 1.5, CELLS[0])[:, None, None]).astype(np.float32)


def outputs(seed=0, count=300):
    rng = np.random.default_rng(seed + 50)
    return {"early": np.exp(rng.normal(-2, 0.1, (count, 8))), "local": maps(seed, count)}


@pytest.fixture(scope="module")
def fitted():
    return typicality.Typicality().fit(outputs(), starts=np.arange(300) % 100 == 0)


def test_distances_are_mahalanobis_of_each_cell_drawn_towards_what_cells_share():
    train, fresh = maps().astype(float), maps(1, 3).astype(float)
    moved = maps(2, 100).astype(float) - maps(3, 100)
    flat, scale = train.reshape(300, -1, CHANNELS), (train - train.mean(0)).reshape(-1, CHANNELS).std(0)
    ordinary = np.array([np.cov(flat[:, p].T, bias=True) / np.outer(scale, scale) for p in range(24)])
    benign = np.array([np.mean([np.outer(row, row) for row in moved.reshape(100, -1, CHANNELS)[:, p] / scale], axis=0)
                       for p in range(24)])
    expected = np.empty((3, 24))
    for p in range(24):
        spread, change = (0.7 * by_cell[p] + 0.3 * by_cell.mean(0) for by_cell in (ordinary, benign))
        spread += 1e-3 * np.eye(CHANNELS)
        precision = np.linalg.inv(spread + 0.1 * change @ np.linalg.inv(spread) @ change)
        for n in range(3):
            rest = (fresh.reshape(3, 24, CHANNELS)[n, p] - flat[:, p].mean(0)) / scale
            expected[n, p] = rest @ precision @ rest
    measure = local.LocalGaussian.fit(train, moved)
    np.testing.assert_allclose(measure.distances(fresh), expected, rtol=1e-4)
    np.testing.assert_allclose(measure.largest(fresh), expected.max(1), rtol=1e-4)


def test_a_channel_that_never_moved_is_quiet_until_it_does():
    train = maps()
    train[..., 2] = 7.0
    measure = local.LocalGaussian.fit(train)
    assert np.isfinite(measure.distances(train)).all()
    train[0, 1, 1, 2] += 1.0
    assert measure.distances(train)[0].argmax() == 7


def test_what_benign_changes_move_counts_for_less():
    train = maps()
    moved = np.zeros_like(train)
    moved[..., 0] = 6.0
    robust, plain = local.LocalGaussian.fit(train, moved), local.LocalGaussian.fit(train)
    changed = maps(1, 50) + moved[:50]
    assert plain.distances(changed).mean() > 2 * plain.distances(maps(1, 50)).mean()
    assert robust.distances(changed).mean() < 1.5 * robust.distances(maps(1, 50)).mean()


def test_a_small_thing_is_seen_where_it_is(fitted):
    assert fitted.channels == ("early", "change", "local")
    assert fitted.inputs == ("early", "local")
    assert fitted.cells == CELLS
    ordinary, changed = outputs(3, 100), outputs(3, 100)
    changed["local"][:, 1, 4] += 12.0
    starts = np.arange(100) == 0
    assert np.mean(fitted.score(changed, starts) > np.quantile(fitted.score(ordinary, starts), 0.95)) > 0.95
    blind = typicality.Typicality(("early", "change")).fit(outputs(), starts=np.arange(300) % 100 == 0)
    np.testing.assert_array_equal(blind.score(changed, starts), blind.score(ordinary, starts))
    cells = fitted.maps(changed)
    assert cells.shape == (100, *CELLS)
    row, column = np.unravel_index(cells.mean(0).argmax(), CELLS)
    assert (row, column) == (1, 4)
    assert (cells[:, 3, 0] < cells[:, row, column]).mean() > 0.95


def test_a_frame_at_a_time_stored_and_in_a_detector(fitted):
    fresh, starts = outputs(4, 60), np.arange(60) == 0
    fresh["local"][30:, 2, 2] += 8.0
    again = typicality.Typicality.from_arrays(fitted.to_arrays())
    assert again.map() is None
    whole, cells = fitted.score(fresh, starts)[:, 0], fitted.maps(fresh)
    for i in range(60):
        single = again.score_frame({name: array[i:i + 1] for name, array in fresh.items()}, bool(starts[i]))
        np.testing.assert_allclose(single, whole[i], rtol=1e-4, atol=1e-4)  # in float32
        np.testing.assert_allclose(again.map(), cells[i], rtol=1e-9)
    evidence = fitted.evidence(fresh, starts)["local"]
    np.testing.assert_allclose(evidence, cells.max(axis=(1, 2)) + np.log(typicality.WEIGHTS["local"]), rtol=1e-9)
    judge = detector.Detector.calibrate(fitted, outputs(5), starts=np.arange(300) % 100 == 0)
    restored = detector.Detector.from_arrays(judge.config(), judge.to_arrays())
    assert restored.nonconformity.cells == CELLS
    steps = [restored.step({name: array[i:i + 1] for name, array in fresh.items()}) for i in range(60)]
    np.testing.assert_allclose([step.nonconformity for step in steps], whole, rtol=1e-4, atol=1e-4)


def test_without_a_map_nothing_changes():
    plain = {"early": outputs()["early"]}
    measure = typicality.Typicality().fit(plain)
    assert measure.channels == ("early",)
    assert measure.cells is None
    assert measure.map() is None
    assert measure.maps(plain) is None
    assert not any("local" in name for name in measure.to_arrays())
    alone = typicality.Typicality(("local",)).fit(outputs(), variants=nonconformity.Variants(
        outputs(9), np.arange(300), None))
    assert alone.inputs == ("local",)


def test_slips_are_told(fitted):
    with pytest.raises(ValueError, match=r"'local' is \[\d+, 5\], but should be a map \[N, height, width, channels\]"):
        typicality.Typicality().fit({"early": outputs()["early"], "local": maps()[:, 0, 0]})
    arrays = fitted.to_arrays()
    with pytest.raises(ValueError, match=r"local: \[4, 6\] cells, means \[23, 5\].* don't fit; calibrate"):
        typicality.Typicality.from_arrays({**arrays, "gaussian.local.means": arrays["gaussian.local.means"][1:]})
