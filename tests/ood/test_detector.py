"""The detector after the network: steps equal runs, invalid frames alarm, settings and arrays round-trip."""
import json
import math

import numpy as np
import pytest

from leanood.ood import conformal, detector, evidence, kl, kl_topk, martingale, nonconformity


class Jump(nonconformity.Nonconformity):
    """A nonconformity with memory: how far `x` moved since the previous frame; two partitions of different scale."""

    name, inputs, partitions = "jump", ("x",), ("a", "b")

    def score(self, outputs, starts=None):
        x = np.asarray(outputs["x"], dtype=np.float64)
        move = np.abs(np.diff(x, prepend=x[:1]))
        move[np.ones(len(x), bool) if starts is None else starts] = 0.0
        return np.stack([move, 2 * move], axis=1)

    def score_frame(self, outputs, first):
        x = float(np.ravel(outputs["x"])[0])
        move = 0.0 if first else abs(x - self._last)
        self._last = x
        return [move, 2 * move]


def outputs(count, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return {"mu": (rng.normal(0, 1, (count, 8)) + shift).astype(np.float32),
            "logvar": rng.normal(-1, 0.5, (count, 8)).astype(np.float32)}


def calibrated(kind="subset", window=20, k=3, count=400):
    partition = np.repeat(["bright", "medium"], count // 2)
    fitted = kl_topk.KlTopK(k).fit(outputs(count, seed=1), partition, np.arange(count) % 20 == 0)
    result = detector.Detector.calibrate(fitted, outputs(count, seed=2), partition=partition, partition_kind=kind,
                                         window=window, seed=5)
    result.decay, result.threshold = 0.3, 4.0
    return result


def steps(judge, out, starts):
    said = []
    for t in range(len(starts)):
        if starts[t]:
            judge.reset()
        said.append(judge.step({name: array[t:t + 1] for name, array in out.items()}))
    return {field: np.array([getattr(step, field) for step in said]) for field in detector.Step._fields}


def with_invalid_frames(out):
    for t, value in [(0, np.nan), (5, np.inf), (6, -np.inf), (60, np.nan), (61, np.nan)]:
        array = out["mu" if t % 2 and "mu" in out else sorted(out)[0]]
        array.reshape(len(array), -1)[t, -1] = value
    return out


@pytest.mark.parametrize("kind", ["subset", "factor"])
@pytest.mark.parametrize("window", [0, 1, 20])
def test_steps_equal_runs(kind, window):
    judge = calibrated(kind, window)
    out = with_invalid_frames(outputs(200, seed=3))
    out["mu"][120:150] += 2
    starts = np.isin(np.arange(200), [0, 60, 61, 90])
    expected = judge.run(out, starts)
    for field, values in steps(judge, out, starts).items():
        np.testing.assert_array_equal(values, expected[field], err_msg=field)
    assert expected["invalid"].sum() == 5
    assert 0 < expected["alarm"].sum() < 200


@pytest.mark.parametrize("extrapolates", [False, True])
def test_steps_equal_runs_of_a_measure_with_memory(extrapolates):
    tables = [conformal.table(np.random.default_rng(0).random(50))] * 2
    x = np.random.default_rng(1).normal(size=200).cumsum()
    out = with_invalid_frames({"x": x})
    starts = np.isin(np.arange(200), [0, 60, 61, 90])
    fitted = Jump()
    fitted.extrapolates = extrapolates
    judge = detector.Detector(fitted, tables, partition_kind="factor", window=20, seed=0)
    expected = judge.run(out, starts)
    for field, values in steps(judge, out, starts).items():
        np.testing.assert_array_equal(values, expected[field], err_msg=field)
    assert expected["nonconformity"][1] == 0  # the sequence begins with its first valid frame
    assert expected["nonconformity"][7] == 2 * abs(x[7] - x[4])  # 5 and 6 are invalid


@pytest.mark.parametrize("kind", ["subset", "factor"])
def test_steps_equal_runs_at_several_scales(kind):
    judge = calibrated(kind)
    judge.use_scales(evidence.WINDOWS, [5.0, 4.0, 3.5, 3.0, 2.5, math.inf])
    out = with_invalid_frames(outputs(400, seed=3))
    out["mu"][120:200] += 1
    starts = np.isin(np.arange(400), [0, 60, 61, 90, 300])
    expected = judge.run(out, starts)
    for field, values in steps(judge, out, starts).items():
        np.testing.assert_array_equal(values, expected[field], err_msg=field)
    assert 0 < expected["alarm"].sum() < 300
    assert judge.memory == 160
    np.testing.assert_array_equal(expected["score"], evidence.scores(
        -np.log(expected["p_value"]), starts, judge.scales.windows, judge.scales.thresholds))
    again = detector.Detector.from_arrays(json.loads(json.dumps(judge.config())), judge.to_arrays())
    for name, array in again.run(out, starts).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_the_nonconformity_says_how_much_of_a_window_has_to_agree(monkeypatch):
    judge = calibrated("subset")
    monkeypatch.setattr(type(judge.nonconformity), "share", 8)
    judge.use_scales(evidence.WINDOWS, [5.0, 4.0, 3.5, 3.0, 2.5, 2.0])
    assert judge.scales.latest == [1, 2, 3, 5, 10, 20]


def test_files_that_name_no_latest_parts_keep_their_eighths():
    judge = calibrated("subset")
    judge.use_scales(evidence.WINDOWS, [5.0, 4.0, 3.5, 3.0, 2.5, 2.0])
    config = judge.config()
    assert config["scales"].pop("latest") == [1, 1, 2, 3, 5, 10]
    again = detector.Detector.from_arrays(config, judge.to_arrays())
    assert again.scales.latest == [1, 2, 3, 5, 10, 20]
    assert again.config()["scales"]["latest"] == [1, 2, 3, 5, 10, 20]


def test_single_images_have_no_scales():
    with pytest.raises(ValueError, match="single images \\(window 0\\) have no scales"):
        calibrated(window=0).use_scales((5,), (3.0,))


@pytest.mark.parametrize("kind", ["subset", "factor"])
def test_numbers_by_another_road(kind):
    judge = calibrated(kind)
    out, n = outputs(60, seed=4), 20
    result = judge.run(out, np.arange(60) == 0)
    arrays = judge.to_arrays()
    divergence = kl.per_latent(out["mu"], out["logvar"])
    alpha = np.stack([divergence[:, latents].sum(axis=1) for latents in arrays["nonconformity.latents"]], axis=1)
    u = conformal.Uniform(5).many(120).reshape(60, 2)
    p = np.stack([(np.array([np.sum(arrays[f"calibration.{c}"] > a) for a in alpha[:, c]]) + u[:, c])
                  / (len(arrays[f"calibration.{c}"]) + 1) for c in (0, 1)], axis=1)
    log_m = np.array([[martingale.log_mixture(min(t + 1, n), -np.log(p[max(0, t + 1 - n):t + 1, c]).sum())
                       for c in (0, 1)] for t in range(60)])
    log_m = log_m.min(axis=1) if kind == "subset" else log_m.max(axis=1)
    score, scores = 0.0, []
    for value in log_m:
        score = max(0.0, score + value - 0.3)
        scores.append(score)
    np.testing.assert_allclose(result["score"], scores, atol=1e-9)
    np.testing.assert_allclose(result["log_martingale"], log_m, atol=1e-9)
    np.testing.assert_allclose(result["nonconformity"], alpha.min(axis=1) if kind == "subset" else alpha.max(axis=1))
    np.testing.assert_allclose(result["p_value"],
                               p.max(axis=1) if kind == "subset" else np.minimum(2 * p.min(axis=1), 1))


def test_factors_are_calibrated_on_all_frames_and_subsets_on_their_own():
    assert [len(calibrated("subset").to_arrays()[f"calibration.{c}"]) for c in (0, 1)] == [200, 200]
    assert [len(calibrated("factor").to_arrays()[f"calibration.{c}"]) for c in (0, 1)] == [400, 400]


def test_a_factor_that_no_calibration_frame_varies_is_calibrated_all_the_same():
    fitted = kl_topk.KlTopK().fit(outputs(100), np.repeat(["brightness", "rain"], 50))
    judge = detector.Detector.calibrate(fitted, outputs(40, seed=2), partition=np.full(40, "brightness"),
                                        partition_kind="factor")
    assert [len(judge.to_arrays()[f"calibration.{c}"]) for c in (0, 1)] == [40, 40]


def test_p_values_are_valid_in_distribution():
    for kind in ("subset", "factor"):
        p = calibrated(kind, count=4000).run(outputs(4000, seed=9), None)["p_value"]
        for level in (0.05, 0.2, 0.5):
            assert np.mean(p <= level) <= level + 0.03


def test_detects_a_shift_and_forgets_it():
    judge = calibrated()
    judge.decay = 5.0
    out = outputs(400, seed=3)
    out["mu"][200:220] += 3
    result = judge.run(out, np.arange(400) == 0)
    assert not result["alarm"][:200].any()
    assert result["alarm"][205:220].all()
    assert not result["alarm"][-1]


def test_a_drive_from_one_subset_into_another_is_in_distribution():
    rng = np.random.default_rng(0)

    def drive(*means):  # of μ; its KL tells the partitions apart
        return {"mu": np.concatenate([rng.normal(mean, 0.1, (500, 1)) for mean in means]),
                "logvar": np.zeros((500 * len(means), 1))}

    partition = np.repeat(["bright", "medium"], 500)
    fitted = kl_topk.KlTopK().fit(drive(1, 3), partition, np.arange(1000) % 50 == 0)
    judge = detector.Detector.calibrate(fitted, drive(1, 3), partition=partition)
    judge.decay, judge.threshold = 1.0, 30.0
    result = judge.run(drive(3, 1, 3), np.arange(1500) == 0)
    assert not result["alarm"].any()
    assert judge.run(drive(5), np.arange(500) == 0)["alarm"][20:].all()


def test_an_invalid_frame_alarms_at_once_and_raises_the_score_while_it_lasts():
    judge = calibrated()
    judge.threshold = math.inf
    out = outputs(60, seed=4)
    assert not steps(judge, out, np.arange(60) == 0)["alarm"].any()
    out["logvar"][30:50] = np.nan
    result = judge.run(out, np.arange(60) == 0)
    assert result["alarm"].tolist() == [30 <= t < 50 for t in range(60)]
    assert np.all(np.diff(result["score"][33:50]) > 0)
    assert np.all(result["nonconformity"][30:50] == np.inf)
    assert np.all(result["p_value"][30:50] <= 1 / 201)
    assert np.isfinite(result["score"]).all()


def test_huge_but_finite_outputs_are_ood_not_invalid():
    judge = calibrated()
    step = judge.step({"mu": np.full(8, 3e38, np.float32), "logvar": np.zeros(8, np.float32)})
    assert not step.invalid
    assert step.p_value <= 1 / 201


def test_single_images_are_scored_by_their_nonconformity():
    judge = calibrated(window=0)
    judge.threshold = 5.0
    result = judge.run(outputs(50, shift=1.0), None)
    np.testing.assert_array_equal(result["score"], result["nonconformity"])
    np.testing.assert_array_equal(result["alarm"], result["score"] > 5)


def test_run_leaves_the_detectors_own_sequence_alone():
    stepped, other, out = calibrated(), calibrated(), outputs(20, seed=7)
    for t in range(20):
        frame = {name: array[t] for name, array in out.items()}
        other.run(out, None)
        assert stepped.step(frame) == other.step(frame)


def test_round_trip_through_json_and_npz(tmp_path):
    judge = calibrated("factor")
    np.savez(tmp_path / "arrays.npz", **judge.to_arrays())
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        again = detector.Detector.from_arrays(json.loads(json.dumps(judge.config())), dict(arrays))
    out, starts = outputs(30, seed=8), np.arange(30) == 0
    for field, values in judge.run(out, starts).items():
        np.testing.assert_array_equal(again.run(out, starts)[field], values)
    judge.threshold = math.inf
    assert "Infinity" not in json.dumps(judge.config())
    assert detector.Detector.from_arrays(judge.config(), judge.to_arrays()).threshold == math.inf


def test_refuses_a_detector_it_cannot_rebuild():
    judge = calibrated()
    config, arrays = judge.config(), judge.to_arrays()
    with pytest.raises(ValueError, match="unknown detector 'psychic'; this version knows kl-topk"):
        detector.Detector.from_arrays({**config, "detector": "psychic"}, arrays)
    with pytest.raises(ValueError, match="lacks 'calibration.1': calibrate it again"):
        detector.Detector.from_arrays(config, {n: a for n, a in arrays.items() if n != "calibration.1"})
    with pytest.raises(ValueError, match="the configuration names"):
        detector.Detector.from_arrays({**config, "partitions": ["x", "y"]}, arrays)
    with pytest.raises(ValueError, match="'subset' or 'factor', not 'both'"):
        detector.Detector.from_arrays({**config, "partition_kind": "both"}, arrays)
    with pytest.raises(ValueError, match="window must be at least 1, or 0 for single images, not -1"):
        detector.Detector.from_arrays({**config, "window": -1}, arrays)


def test_refuses_frames_it_cannot_calibrate_on():
    fitted = kl_topk.KlTopK().fit(outputs(20), np.repeat(["a", "b"], 10))
    out = outputs(20)
    with pytest.raises(ValueError, match="needs each frame's partition: one of a, b"):
        detector.Detector.calibrate(fitted, out)
    with pytest.raises(ValueError, match="no calibration frame is of partition 'b'"):
        detector.Detector.calibrate(fitted, out, partition=np.full(20, "a"))
    with pytest.raises(ValueError, match="are of partitions c, which the nonconformity was not fitted on"):
        detector.Detector.calibrate(fitted, out, partition=np.full(20, "c"))
    with pytest.raises(ValueError, match="the network gave mu"):
        detector.Detector.calibrate(fitted, {"mu": out["mu"]}, partition=np.full(20, "a"))
    out["mu"][3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite on 1 of 20 calibration frames"):
        detector.Detector.calibrate(fitted, out, partition=np.repeat(["a", "b"], 10))
