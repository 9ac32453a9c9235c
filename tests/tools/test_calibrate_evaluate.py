"""From a converted network to a calibrated, evaluated detector file, through the verbs, on lanes and on images."""
import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from leanood.data import catalog, corruptions, frames, sequences
from leanood.ood import events, evidence, metrics
from leanood.tflite import bundle
from leanood.workflow import calibrate, datasets, evaluate, gallery, plots, sensitivity
from leanood.workflow import network as network_

LANES = "lanes:frames=1600,scene=60,size=32x32"
MAIN = str(pathlib.Path(__file__).parents[2] / "tools" / "main.py")


def leanood(*arguments):
    return subprocess.run([sys.executable, MAIN, *arguments], capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def lanes():
    return catalog.open(LANES)


@pytest.fixture(scope="module")
def network(tiny_tflite):
    return network_.load(bundle.flatbuffer(tiny_tflite["int8"]))


@pytest.fixture(scope="module")
def calibrated(lanes, network):
    return calibrate.fit(network, lanes, calibrate.Settings(false_alarms_per_hour=60, benign_variants=1))


@pytest.fixture(scope="module")
def file(calibrated, network, lanes, tiny_tflite, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.tflite"
    fields = calibrate.fields(calibrated, network, lanes.fps, data={"spec": LANES}, converted={})
    bundle.write(path, bundle.flatbuffer(tiny_tflite["int8"]), fields, calibrated.detector.to_arrays())
    return path


@pytest.fixture(scope="module")
def evaluated(file, network, lanes):
    settings = evaluate.Settings(severities=(5,), corruptions=("darker", "noise", "frozen"), stretch_s=2, stretches=4)
    return evaluate.score(bundle.load(file), network, lanes, settings)


def test_calibration_uses_each_split_for_its_part(calibrated, lanes):
    for split in ("train", "calibration", "validation"):
        assert calibrated.summary["frames"][split] == int((lanes.split == split).sum())
    assert calibrated.summary["ordered"]
    held_out = sum(calibrated.summary["frames"][split] for split in ("train", "calibration", "validation"))
    assert calibrated.summary["held_out_hours"] == pytest.approx(held_out / lanes.fps / 3600)
    assert np.isfinite(calibrated.detector.threshold)


def test_a_detector_file_tells_what_it_was_calibrated_on(file, tmp_path):
    again = calibrate.calibrate(file, out=tmp_path / "again.tflite", detector="kl-typical", benign_variants=0)
    told = bundle.read(again.path).detector
    assert (told["detector"], told["provenance"]["data"]["spec"]) == ("kl-typical", LANES)


def test_driving_that_raises_the_thresholds_is_named(lanes, network):
    negative = np.flatnonzero(lanes.split == "calibration")[70:110]
    changed = dataclasses.replace(
        lanes, read=lambda i: 255 - lanes.read(i) if i in negative else lanes.read(i))
    told = calibrate.fit(network, changed, calibrate.Settings(false_alarms_per_hour=60, benign_variants=0)).summary
    name, = (re.fullmatch(r"the driving around (\S+) raises the thresholds by \d+%: if that is not ordinary, leave it "
                          r"out \(a column `ood` of --times_csv marks frames\) and calibrate again", warning)[1]
             for warning in told["warnings"] if "raises the thresholds" in warning)
    assert np.abs(negative - list(lanes.names).index(name)).min() <= 5  # "around": a window ends a little later


def test_calibration_says_what_its_promise_rests_on(calibrated, lanes):
    summary = calibrated.summary
    scenes = {name.split("/")[0] for name, split in zip(lanes.names, lanes.split)
              if split in ("train", "calibration", "validation")}
    assert summary["groups"] == len(scenes)
    assert re.fullmatch(rf"asked 60 an hour; by {len(scenes)} recordings left out in turn: [\d.]+ \([\d.]+–[\d.]+\), "
                        r"in the worst benign variant [\d.]+", summary["promise"])
    assert summary["left_out"]["low"] <= summary["left_out"]["per_hour"] <= summary["left_out"]["high"]
    assert calibrated.detector.scales.windows == list(evidence.WINDOWS)
    assert list(summary["thresholds"].values()) == calibrated.detector.scales.thresholds
    assert calibrated.detector.threshold == 1.0


def test_too_little_driving_for_the_rate_is_told(network, lanes):
    def warned(per_hour):
        told = calibrate.fit(network, lanes, calibrate.Settings(false_alarms_per_hour=per_hour, benign_variants=0))
        return [warning for warning in told.summary["warnings"] if re.match(
            rf"[\d.]+ minutes of driving can't tell {per_hour} false alarms an hour from many: the next", warning)]

    hours = float(np.isin(lanes.split, ("train", "calibration", "validation")).sum()) / lanes.fps / 3600
    assert hours * 3 < 0.2 < hours * 60
    assert (len(warned(3)), len(warned(60))) == (1, 0)


def test_one_window_is_to_be_had_by_its_number(network, lanes):
    calibration = calibrate.fit(
        network, lanes, calibrate.Settings(window=10, false_alarms_per_hour=60, benign_variants=0))
    assert calibration.detector.scales.windows == [10]
    assert calibration.detector.memory == 10


def test_what_will_alarm_is_found_from_the_mildest_severity_on(calibrated, network):
    alarms = sensitivity.find(calibrated.detector, network, calibrated.validation, ("darker", "noise", "rain"))
    assert [alarm.kind for alarm in alarms] == ["darker", "noise", "rain"]
    dark = alarms[0]
    assert dark.severity in (3, 5)  # severity 1 is within what lanes declare
    assert 0 <= dark.delay_s < 10
    rows, _ = sensitivity.table([*alarms, sensitivity.Mildest("fog", None, None)])
    assert ["fog", "won't alarm", ""] in rows
    assert rows[-1][1] == "won't alarm"
    assert sensitivity.rates("low")[0] < sensitivity.rates("normal")[0] < sensitivity.rates("high")[0]
    with pytest.raises(ValueError, match="sensitivity is 'loud'; it can be low, normal, high"):
        sensitivity.rates("loud")


def test_the_threshold_can_be_reached(calibrated):
    assert calibrated.detector.threshold < calibrated.detector.highest_score()


def test_the_detector_sees_a_dark_camera_and_not_the_usual_road(file, lanes):
    detector = bundle.load(file)
    test = lanes.splits("test")
    normal = [detector(test.read(i)) for i in range(40)]
    detector.reset()
    dark = [detector((test.read(i) * 0.05).astype(np.uint8)) for i in range(40)]
    assert not any(verdict.alarm for verdict in normal)
    assert dark[-1].score > max(verdict.score for verdict in normal)
    assert dark[-1].alarm


def test_evaluation_is_that_of_the_scores(evaluated, file, lanes):
    row = next(row for row in evaluated.rows if row["set"] == "darker 5")
    detector = bundle.load(file)
    test = lanes.where((lanes.split == "test") & ~lanes.ood)
    chosen = sequences.stretches(test, 40, 4)
    scores, p_values, is_ood, alarms, starts = [], [], [], [], []
    for number, where in enumerate(chosen):
        pattern = ("all", "second_half", "middle_half")[number % 3]
        images, ood = sequences.corrupted(test, where, "darker", 5, pattern, number, (32, 32))
        detector.reset()
        verdicts = [detector(image) for image in images]
        scores += [verdict.score for verdict in verdicts]
        p_values += [verdict.p_value for verdict in verdicts]
        alarms += [verdict.alarm for verdict in verdicts]
        is_ood += ood.tolist()
        starts += [i == 0 for i in range(len(where))]
    scores, is_ood = np.array(scores), np.array(is_ood)
    # A loaded file's random numbers run on from stretch to stretch; the evaluation's begin anew with each.
    assert row["auroc"] == pytest.approx(metrics.evaluate(scores[~is_ood], scores[is_ood]).auroc, abs=0.02)
    assert row["hit_rate"] == events.detections(np.array(alarms), np.array(starts), is_ood, 20).hit_rate
    alone = -np.log(p_values)
    assert row["frame_auroc"] == pytest.approx(metrics.evaluate(alone[~is_ood], alone[is_ood]).auroc, abs=0.02)
    assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
    assert set(row["baselines"]) == {"six colour numbers", "mean brightness", "sharpness"}


def test_hits_are_told_beside_an_oracles(evaluated):
    summary = evaluated.summary
    for row in evaluated.rows:
        assert 0 <= row["oracle_hit_rate"] <= 1
    assert summary["mean_hit_rate"] == pytest.approx(np.mean([row["hit_rate"] for row in evaluated.rows]))
    assert "thresholds that know the test" in str(evaluated)


def test_recordings_that_are_really_ood_have_rows(file, network, lanes, tmp_path):
    folder = tmp_path / "tunnel" / "drive"
    folder.mkdir(parents=True)
    test = lanes.splits("test")
    for i in range(60):
        frame = test.read(i) if i < 30 else (test.read(i) * 0.05).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i:03d}.png"), frame)
    settings = evaluate.Settings(corruptions=(), stretch_s=2, ood=(str(tmp_path / "tunnel"),))
    report = evaluate.score(bundle.load(file), network, lanes, settings)
    assert [row["set"] for row in report.rows] == ["tunnel"]
    assert report.rows[0]["n_ood"] == 60  # without labels all of it
    lines = [f"drive/{i:03d}.png,drive,{int(i >= 30)}" for i in range(60)]
    (tmp_path / "tunnel" / "labels.csv").write_text("frame,partition,ood\n" + "\n".join(lines))
    row, = evaluate.score(bundle.load(file), network, lanes, settings).rows
    assert row["n_ood"] == 30
    assert row["n_id"] == len(test) + 30
    assert row["auroc"] > 0.9
    assert row["hit_rate"] == 1.0
    assert row["delay_frames"] <= 10
    # The same frames, ordered and labelled by a table of times.
    (tmp_path / "tunnel" / "labels.csv").unlink()
    table = tmp_path / "times.csv"
    table.write_text("frame,milliseconds,ood\n" + "\n".join(
        f"drive/{i:03d}.png,{50 * i},{int(i >= 30)}" for i in range(60)))
    settings = evaluate.Settings(corruptions=(), stretch_s=2, ood=(f"{tmp_path / 'tunnel'},{table}",))
    assert evaluate.score(bundle.load(file), network, lanes, settings).rows == [row]


def test_the_gallery_shows_what_went_wrong(file, network, lanes, tmp_path):
    settings = evaluate.Settings(severities=(1,), corruptions=("dead_pixels", "occlusion"), stretch_s=2, stretches=3)
    report = evaluate.score(bundle.load(file), network, lanes, settings)
    kinds = [picture.kind for picture in report.pictures]
    assert kinds.count(gallery.ODDEST) == gallery.MOST
    missed = [row["set"] for row in report.rows if row["hit_rate"] < 1]
    assert [picture.title.split(":")[0] for picture in report.pictures if picture.kind == gallery.MISS] == missed
    for picture in report.pictures:
        assert picture.frame.shape == (32, 32, 3)
        assert re.search(r": (early|latent|change), \d+ frames, score [\d.]+$", picture.title)
    report.write(str(tmp_path))
    assert cv2.imread(str(tmp_path / "gallery.png")).std() > 1


def test_a_severity_in_the_declared_range_is_no_ood_row(lanes):
    assert not corruptions.outside_id("darker", 1, lanes.partition_kind)
    assert corruptions.outside_id("darker", 5, lanes.partition_kind)
    assert corruptions.outside_id("fog", 1, lanes.partition_kind)
    assert corruptions.outside_id("darker", 1, "subset")


def test_stretches_never_span_a_sequence(lanes):
    test = lanes.splits("test")
    for where in sequences.stretches(test, 30):
        assert (np.diff(where) == 1).all()
        assert not test.starts[where[1:]].any()


def test_plots_are_pictures(evaluated, tmp_path):
    for name, figure in {"both.png": evaluated.plot(), "roc.png": evaluated.plot_roc(),
                         "score.png": evaluated.plot_example()}.items():
        assert cv2.imread(plots.save(figure, str(tmp_path / name))).std() > 1
    assert not list(tmp_path.glob("*.partial"))


def test_corrupt_images_are_named_and_counted(tmp_path, capsys):
    folder = tmp_path / "images" / "road"
    folder.mkdir(parents=True)
    for i in range(40):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.random.default_rng(i).integers(0, 255, (32, 32, 3), np.uint8))
    (folder / "040.png").write_bytes(b"\x89PNG broken")
    data = catalog.open(str(tmp_path / "images"))
    total = 0
    for split in ("train", "calibration", "validation", "test"):
        images, known = datasets.load_split(data, split, (32, 32))
        assert len(images) == len(known)
        total += len(images)
    assert total == 40
    assert "unreadable, left out: road/040.png" in capsys.readouterr().err


def test_what_can_not_be_read_is_told_once_and_plays_no_part_in_benign_changes(file, network, lanes, capsys):
    broken = np.flatnonzero(lanes.split == "test")[20::40]

    def read(i):
        if i in broken:
            raise frames.FrameError(f"{lanes.names[i]}: truncated")
        return lanes.read(i)

    settings = evaluate.Settings(severities=(5,), corruptions=("darker",), stretch_s=1, stretches=2,
                                 benign=("exposure_0.97", "exposure_1.03"))
    report = evaluate.score(bundle.load(file), network, dataclasses.replace(lanes, read=read), settings)
    assert [row["change"] for row in report.summary["benign"]] == ["exposure_0.97", "exposure_1.03"]
    assert capsys.readouterr().err.count(f"unreadable, left out: {lanes.names[broken[0]]}: truncated") == 1


def test_an_empty_split_is_named(lanes):
    with pytest.raises(ValueError, match="no in-distribution frame in its split 'ood'"):
        datasets.load_split(lanes, "ood", (32, 32))


def test_the_verbs_on_an_image_folder(tiny_tflite, tmp_path):
    rng = np.random.default_rng(0)
    for part, level in (("day", 150), ("dusk", 90), ("night", 10)):
        (tmp_path / "images" / part).mkdir(parents=True)
        for i in range(120):
            image = np.clip(rng.normal(level, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "images" / part / f"frame{i}.png"), image)
    detector = tmp_path / "detector.tflite"
    done = leanood("calibrate", str(tiny_tflite["float32"]), f"--data={tmp_path / 'images'}", "--ood_partitions=night",
                   f"--out={detector}", "--benign_variants=1", "--json")
    assert done.returncode == 0, done.stderr
    assert not json.loads(done.stdout)["ordered"]
    done = leanood("evaluate", str(detector), "--corruptions=", "--benign=yuv420,noise_1",
                   f"--out={tmp_path / 'results'}", "--record")
    assert done.returncode == 0, done.stderr
    assert "mean AUROC over the 1 truly OOD rows: 1.000" in done.stdout
    report = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    assert report["rows"][0]["set"] == "night"
    assert set(report["rows"][0]["auroc_by_partition"]) == {"day", "dusk"}
    assert "against day" in done.stdout
    assert (tmp_path / "results" / "roc.png").exists()
    assert bundle.read(detector).detector["metrics"][0]["rows"][0]["auroc"] == report["rows"][0]["auroc"]


@pytest.mark.parametrize(("arguments", "message"), [
    (("calibrate",), "name one .tflite file"),
    (("calibrate", "nowhere.tflite"), "nowhere.tflite"),
    (("evaluate",), "name one detector file"),
    (("evaluate", __file__), "not a TFLite file"),
    (("evaluate", "x.tflite", "--severities=7"), "whole numbers from 1 to 5"),
    (("demo", "--frames=2000"), "--frames=2000"),  # too few for the study's verdict
    (("dance",), "unknown verb 'dance'"),
])
def test_mistakes_end_in_one_line_and_status_2(arguments, message):
    done = leanood(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("verb", ["train", "compress", "convert", "calibrate", "evaluate", "benchmark", "monitor",
                                  "info", "demo"])
def test_each_verb_helps_and_runs_as_a_script(verb):
    script = pathlib.Path(__file__).parents[2] / "tools" / f"{verb}.py"
    for command in ([sys.executable, MAIN, verb], [sys.executable, str(script)]):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert f"leanood {verb}" in done.stdout
        assert "Example:" in done.stdout
        assert "--" in done.stdout.split("Flags:")[1]


@pytest.mark.parametrize("arguments", [("info",), ("benchmark", "--runs=3", "--warmup=1")])
def test_the_device_s_verbs_take_the_default_detector(file, arguments):
    verb, *flags = arguments
    done = leanood(verb, str(file), *flags)
    assert done.returncode == 0, done.stderr
    assert verb != "info" or "nothing is carried over" in done.stdout
