"""The two nonconformities of motion: the published or-rule on ΣKL, and typicality of latents and statistics."""
from __future__ import annotations

import math

import numpy as np
import pytest

from leanood.ood import detector, flow_kl, flow_typicality, nonconformity, tail

Z = 5


def _outputs(count: int, seed: int, shift: float = 0.0, speed: float = 1.0) -> dict:
    rng = np.random.default_rng(seed)
    outputs = {}
    for direction in "hv":
        outputs[f"mu_{direction}"] = rng.normal(0, 1, (count, Z)) + (shift if direction == "v" else 0.0)
        outputs[f"logvar_{direction}"] = rng.normal(-1, 0.3, (count, Z))
    outputs["motion"] = np.concatenate([rng.normal(0, 0.05, (count, 48)) * speed,
                                        np.exp(rng.normal(-3, 0.2, (count, 98))) * speed,
                                        rng.normal(0, 0.05, (count, 48 * 3)) * speed], axis=1)
    return {name: values.astype(np.float32) for name, values in outputs.items()}


def test_divergences_are_sums_of_kl_by_direction():
    outputs = _outputs(7, 0)
    result = flow_kl.divergences(outputs)
    for column, direction in enumerate("hv"):
        mu, logvar = (outputs[f"{part}_{direction}"].astype(np.float64) for part in ("mu", "logvar"))
        wanted = [sum(0.5 * (m * m + math.exp(v) - v - 1) for m, v in zip(*row)) for row in zip(mu, logvar)]
        np.testing.assert_allclose(result[:, column], wanted, rtol=1e-9)


def test_the_or_rule_with_two_thresholds_is_one_threshold_on_the_evidence():
    fitted = flow_kl.FlowKl().fit(_outputs(2000, 1))
    test = _outputs(500, 2, shift=0.7)
    for evidence in (0.5, 2.0, 5.0):
        low_h, low_v = fitted.thresholds(evidence)
        distances = flow_kl.divergences(test)
        np.testing.assert_array_equal(fitted.score(test).max(axis=1) >= evidence,
                                      (distances[:, 0] >= low_h) | (distances[:, 1] >= low_v))


def test_a_tail_gives_back_the_value_of_its_evidence():
    fitted = tail.Tail.fit(np.random.default_rng(0).gamma(2.0, size=3000))
    for evidence in (0.01, 0.7, 2.2, 8.0):
        assert fitted.log_p_scalar(fitted.value_at(evidence)) == pytest.approx(evidence, abs=1e-9)
    assert fitted.value_at(0.0) == fitted.knots[0]


def test_one_direction_out_of_distribution_is_enough():
    fitted = flow_kl.FlowKl().fit(_outputs(2000, 1))
    calibrated = detector.Detector.calibrate(fitted, _outputs(500, 3), window=0)
    assert calibrated.partition_kind == "factor"
    calibrated.threshold = 4.0
    result = calibrated.run(_outputs(200, 4, shift=3.0), None)
    assert result["alarm"].mean() > 0.95
    assert {calibrated.partitions[i] for i in result["partition"][result["alarm"]]} == {"vertical"}
    assert calibrated.run(_outputs(200, 5), None)["alarm"].mean() < 0.1


@pytest.mark.parametrize("kind", [flow_kl.FlowKl, flow_typicality.FlowTypicality])
@pytest.mark.parametrize("window", [0, 10])
def test_frames_one_by_one_and_whole_sequences_agree(kind, window):
    calibrated = detector.Detector.calibrate(kind().fit(_outputs(600, 1)), _outputs(300, 2), window=window,
                                             starts=np.arange(300) == 0)
    restored = detector.Detector.from_arrays(calibrated.config(), calibrated.to_arrays())
    test = _outputs(60, 3, shift=0.5)
    begins = np.arange(60) % 30 == 0
    whole = calibrated.run(test, begins if window else None)
    for i in range(60):
        if begins[i]:
            restored.reset()
        step = restored.step({name: values[i:i + 1] for name, values in test.items()})
        assert step.score == pytest.approx(whole["score"][i], rel=1e-9, abs=1e-12)
        assert step.p_value == pytest.approx(whole["p_value"][i], rel=1e-9)
        assert step.partition == whole["partition"][i]


def test_too_little_motion_is_as_nonconforming_as_too_much():
    fitted = flow_typicality.FlowTypicality().fit(_outputs(2000, 1))
    ordinary = np.quantile(fitted.score(_outputs(500, 2)), 0.95)
    for speed in (0.02, 3.0):
        assert np.median(fitted.score(_outputs(200, 3, speed=speed))) > ordinary


def test_channels_may_be_left_out():
    only = flow_typicality.FlowTypicality((flow_typicality.LATENT,))
    assert only.inputs == flow_kl.OUTPUTS
    only.fit(_outputs(500, 1))
    assert list(only.evidence(_outputs(3, 2))) == ["latent"]
    with pytest.raises(ValueError, match="not sideways"):
        flow_typicality.FlowTypicality(("sideways",))


def test_a_latent_on_the_other_side_is_ood_although_its_kl_is_the_same():
    outputs = _outputs(2000, 1)
    outputs["mu_v"] = np.abs(outputs["mu_v"]) + 1.0
    fitted = flow_typicality.FlowTypicality((flow_typicality.LATENT,)).fit(outputs)
    test = _outputs(100, 2)
    test["mu_v"] = np.abs(test["mu_v"]) + 1.0
    away = {**test, "mu_v": -test["mu_v"]}
    np.testing.assert_allclose(flow_kl.divergences(away), flow_kl.divergences(test))
    assert fitted.score(away).min() > np.quantile(fitted.score(test), 0.95)


def _courses(count: int, seed: int, steps: float, pull: float) -> dict:
    """Outputs whose median flow goes on by steps that follow each other: `pull` of the last, and noise."""
    rng = np.random.default_rng(seed)
    outputs = _outputs(count, seed)
    noise, walk = rng.normal(0, steps, (count, 2, 6)), np.zeros((count, 2, 6))
    for t in range(1, 6):
        walk[..., t] = pull * walk[..., t - 1] + noise[..., t]
    courses = np.repeat(np.cumsum(walk, axis=2)[:, :, np.newaxis], 24, axis=2) + rng.normal(0, 1e-4, (count, 2, 24, 6))
    outputs["motion"] = np.concatenate([outputs["motion"][:, :146], courses.reshape(count, -1)], axis=1)
    return outputs


def test_a_camera_that_shakes_is_told_from_a_bump_of_the_same_energy():
    fitted = flow_typicality.FlowTypicality((flow_typicality.COURSE,)).fit(_courses(3000, 1, 0.01, 0.9))
    ordinary, shaken = (fitted.score(_courses(500, 2, 0.01, pull)) for pull in (0.9, -0.9))
    bump = fitted.score(_courses(500, 2, 0.02, 0.9))
    assert np.median(shaken) > np.median(bump) + 1 > np.median(ordinary) + 1


def test_the_course_is_the_mahalanobis_distance_of_compressed_steps():
    outputs = _courses(400, 3, 0.03, 0.5)
    fitted = flow_typicality.FlowTypicality((flow_typicality.COURSE,)).fit(outputs)
    rows = []
    for row in outputs["motion"][:5, 146:]:
        medians = [[float(np.median(row[144 * direction:][t:144:6])) for t in range(6)] for direction in (0, 1)]
        rows.append([math.asinh((after - before) / 0.01) for course in medians
                     for before, after in zip(course, course[1:])])
    expected = fitted._tails["course"].log_p(fitted._gaussians["course"].distances(np.array(rows))) + math.log(0.25)
    np.testing.assert_allclose(fitted.score(outputs)[:5, 0], expected, rtol=1e-6)


def test_motion_that_is_too_even_is_seen_by_the_calm_channel_alone():
    kinds = {channel: flow_typicality.FlowTypicality((channel,)).fit(_courses(2000, 1, 0.02, 0.5))
             for channel in (flow_typicality.COURSE, flow_typicality.CALM)}
    even, ordinary = _courses(200, 2, 0.001, 0.5), _courses(200, 3, 0.02, 0.5)
    above = {channel: np.median(fitted.score(even)) - np.median(fitted.score(ordinary))
             for channel, fitted in kinds.items()}
    assert above["calm"] > 1
    assert above["course"] < 0


def test_a_file_of_other_channels_wants_calibrating_again():
    arrays = flow_typicality.FlowTypicality().fit(_outputs(600, 1)).to_arrays()
    with pytest.raises(ValueError, match="channels scene, jitter.*calibrate it again"):
        flow_typicality.FlowTypicality.from_arrays({**arrays, "channels": np.array(["scene", "jitter"])})


def test_what_benign_variants_move_is_no_longer_ood():
    outputs = _outputs(1000, 1)
    rng = np.random.default_rng(5)
    origin = np.arange(1000)
    moved = {**outputs, "logvar_h": (outputs["logvar_h"] + rng.normal(0, 2, (1000, Z))).astype(np.float32)}
    variants = nonconformity.Variants(moved, origin, None)
    test = {**_outputs(200, 2)}
    test["logvar_h"] = test["logvar_h"] + 2.0
    told = flow_typicality.FlowTypicality().fit(outputs, variants=variants).score(test)
    untold = flow_typicality.FlowTypicality().fit(outputs).score(test)
    assert np.median(told) < 3 < np.median(untold)


def test_a_network_without_statistics_is_refused():
    outputs = _outputs(50, 0)
    del outputs["motion"]
    with pytest.raises(ValueError, match="reads the output 'motion'.*--detector=flow-kl"):
        flow_typicality.FlowTypicality().fit(outputs)
