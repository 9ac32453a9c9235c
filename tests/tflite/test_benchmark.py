"""The benchmark: statistics by hand, children that take turns, meters on made-up boards, the verb."""
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from leanood.tflite import benchmark, bundle, flatbuffer, runtime
from leanood.tflite.timing import energy, memory, operator_times, worker


def _setup(folder, name, **options):
    return benchmark.Setup(str(folder / f"{name}.tflite"), **options)


def test_times_are_the_sample_statistics():
    seconds = [0.003, 0.001, 0.002, 0.010]
    times = benchmark.Times.of(seconds)
    assert times.runs == 4
    assert times.mean == pytest.approx(sum(seconds) / 4)
    assert times.median == pytest.approx(0.0025)
    assert times.min == 0.001
    assert times.std == pytest.approx((sum((s - 0.004) ** 2 for s in seconds) / 3) ** 0.5)
    assert times.p95 == pytest.approx(0.003 + 0.85 * 0.007)
    assert benchmark.Times.of([0.5]).std == 0.0


def test_a_plain_file_is_measured(tiny_models):
    result = benchmark.measure(_setup(tiny_models, "latent_float32"), runs=20, warmup=3)
    assert result.runtime.startswith("LiteRT 2.")
    assert result.invoke.runs == 20
    assert 0 < result.invoke.min <= result.invoke.median <= result.invoke.p95 <= result.invoke.p99
    assert 0 < result.first < result.init + 1
    assert result.verdict is None
    assert result.file_size == os.path.getsize(tiny_models / "latent_float32.tflite")
    assert 0 < result.peak_memory < 100e6
    json.dumps(result.as_dict())


def test_a_detector_file_is_timed_from_frame_to_verdict(tiny_detector):
    result = benchmark.measure(benchmark.Setup(str(tiny_detector)), runs=20, warmup=1)
    assert result.verdict.runs == 20
    assert result.verdict.median > result.invoke.median


def test_two_models_take_turns_and_the_interval_holds_their_ratio(tiny_models, tmp_path):
    large, small = _setup(tiny_models, "latent_float32"), tmp_path / "small.tflite"
    small.write_bytes(flatbuffer.truncated((tiny_models / "latent_float32.tflite").read_bytes(), 1))
    first, second, ratio = benchmark.compare(large, benchmark.Setup(str(small)), runs=100, rounds=10)
    assert 0 < ratio.low <= ratio.ratio <= ratio.high
    assert ratio.rounds == 10
    assert first.invoke.runs == second.invoke.runs == 100


def test_two_runtimes_are_timed_in_two_processes(tiny_models):
    pytest.importorskip("tflite_runtime")
    first, second, _ = benchmark.compare(_setup(tiny_models, "latent_int8", runtime="litert"),
                                         _setup(tiny_models, "latent_int8", runtime="tflite-runtime"), runs=6, rounds=3)
    assert first.runtime.startswith("LiteRT")
    assert second.runtime.startswith("tflite-runtime")


def test_the_ratio_is_the_median_of_the_rounds():
    ratio = benchmark._ratio([2.0] * 9 + [50.0], 0.95)  # one round was disturbed
    assert (ratio.ratio, ratio.low) == (pytest.approx(2.0), pytest.approx(2.0))
    assert ratio.high < 50.0


def test_the_arena_is_the_worst_moment_of_the_graph(tiny_models):
    with open(tiny_models / "latent_float32.tflite", "rb") as file:
        graph = flatbuffer.read(file.read())
    # The first convolution: its input 32·32·3 and its output 16·16·8 are alive.
    assert graph.arena_bytes() == 4 * (32 * 32 * 3 + 16 * 16 * 8)


def test_a_cut_graph_computes_what_the_whole_one_has_there(tiny_models):
    data = (tiny_models / "classifier_float32.tflite").read_bytes()
    graph = flatbuffer.read(data)
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    place = next(i for i, operator in enumerate(graph.operators) if operator.name == "MEAN")
    cut = runtime.load(flatbuffer.truncated(data, place + 1))
    (features,) = cut(frame).values()
    np.testing.assert_array_equal(features, runtime.load(data)(frame)["features"])
    with pytest.raises(flatbuffer.FlatbufferError, match="it cannot be cut after 9"):
        flatbuffer.truncated(data, 9)


def test_the_profile_names_every_operator(tiny_models):
    entries = operator_times.profile(_setup(tiny_models, "classifier_float32"), runs=20)
    assert [entry.operator for entry in entries] == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]
    assert all(entry.seconds >= 0 and entry.share >= 0 for entry in entries)
    assert sum(entry.share for entry in entries) > 0


def test_a_crash_of_the_child_is_one_line(tiny_models, tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    with pytest.raises(ValueError, match="latent_float32.tflite: running it ended in SIGSEGV: it is corrupt, or"):
        benchmark.measure(_setup(tiny_models, "latent_float32"))


def test_damaged_missing_and_impossible_setups_are_refused(tiny_models, tiny_detector, tmp_path):
    damaged = tmp_path / "detector.tflite"
    data = bytearray(tiny_detector.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(bundle.DetectorFileError, match="the calibration is not of this model"):
        benchmark.measure(benchmark.Setup(str(damaged)))
    with pytest.raises(FileNotFoundError):
        benchmark.measure(benchmark.Setup(str(tmp_path / "missing.tflite")))
    with pytest.raises(ValueError, match="runs is 0 and warmup 10"):
        benchmark.measure(_setup(tiny_models, "latent_float32"), runs=0)
    unknown = _setup(tiny_models, "reverse", runtime="onnx")
    with pytest.raises(ValueError, match="runtime is 'onnx'"), worker.start(unknown):
        pass


def test_the_peak_of_memory_is_seen():
    memory.forget_peak()
    before = memory.taken_bytes()
    block = np.ones(40_000_000, np.uint8)
    del block
    assert memory.taken_bytes("VmHWM") - before > 35e6


# Meters, on boards made of files.


def _board(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return str(root) + "/"


def test_no_meter_is_not_available(tmp_path):
    assert energy.meter(str(tmp_path)) is None


def test_rapl_counts_packages_and_their_wrap_around(tmp_path):
    zone = "sys/class/powercap/intel-rapl:"
    root = _board(tmp_path, {f"{zone}0/energy_uj": 900, f"{zone}0/max_energy_range_uj": 1000, f"{zone}1/energy_uj": 10,
                             f"{zone}1/max_energy_range_uj": 1000, f"{zone}0:0/energy_uj": 5})
    meter = energy.meter(root)
    meter.start()
    _board(tmp_path, {f"{zone}0/energy_uj": 100, f"{zone}1/energy_uj": 60, f"{zone}0:0/energy_uj": 700})
    reading = meter.stop()
    assert reading.joules == pytest.approx((200 + 50) * 1e-6)  # the part 0:0 belongs to package 0
    assert reading.source == "RAPL packages"


@pytest.mark.parametrize(("files", "watts"), [
    ({"ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN", "ina3221x/6-0040/iio:device0/in_power0_input": 3000,
      "ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU", "ina3221x/6-0040/iio:device0/in_power1_input": 9}, 3.0),
    ({"ina3221/1-0040/hwmon/hwmon3/in1_label": "VDD_IN", "ina3221/1-0040/hwmon/hwmon3/in1_input": 5000,
      "ina3221/1-0040/hwmon/hwmon3/curr1_input": 800, "ina3221/1-0040/hwmon/hwmon3/in2_label": "VDD_CPU_GPU_CV",
      "ina3221/1-0040/hwmon/hwmon3/in2_input": 5000, "ina3221/1-0040/hwmon/hwmon3/curr2_input": 500}, 4.0)])
def test_a_jetsons_input_rail_is_integrated(tmp_path, files, watts):
    root = _board(tmp_path, {f"sys/bus/i2c/drivers/{name}": text for name, text in files.items()})
    meter = energy.meter(root)
    meter.start()
    time.sleep(0.1)
    reading = meter.stop()
    assert reading.joules == pytest.approx(watts * reading.seconds, rel=0.05)
    assert reading.source == "INA3221 input rail"


# The verb.


def _leanood(*arguments):
    return subprocess.run([sys.executable, "-m", "leanood.tools.main", "benchmark", *map(str, arguments)],
                          capture_output=True, text=True)


def test_the_verb_prints_a_table_or_json(tiny_models, tiny_detector):
    table = _leanood(tiny_detector, "--runs=5", "--profile")
    assert table.returncode == 0, table.stderr
    for row in ("runtime", "median, ms", "p99, ms", "frame to verdict, median ms", "energy a run, mJ", "CONV_2D v1"):
        assert row in table.stdout
    told = json.loads(_leanood(tiny_models / "latent_float32.tflite", tiny_models / "latent_int8.tflite", "--runs=5",
                               "--json").stdout)
    assert [result["setup"]["model"].split("_")[-1] for result in told["results"]] == ["float32.tflite", "int8.tflite"]
    assert told["ratio"]["low"] <= told["ratio"]["ratio"] <= told["ratio"]["high"]


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "0 files were given; leanood benchmark FILE times one, FILE FILE compares two"),
    (["missing.tflite"], "No such file or directory: 'missing.tflite'"),
    (["a", "--runtime=auto,litert,tf.lite"], "at most two values can be compared"),
    (["a", "--num_threads=0"], "--num_threads=0: it must be a number of at least 1"),
    (["a", "--runs=0"], "flag --runs=0"),
])
def test_the_verbs_mistakes_are_one_line(arguments, message):
    child = _leanood(*arguments)
    assert child.returncode == 2
    assert message in child.stderr
    assert len(child.stderr.strip().splitlines()) == 1
