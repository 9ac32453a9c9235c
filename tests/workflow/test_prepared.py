"""Frames that are prepared once: the same answers from disk, nothing read twice, work told apart."""
import concurrent.futures
import dataclasses
import gc
import time

import numpy as np
import pytest

from leanood.data import catalog, frames, stacks
from leanood.tflite import bundle
from leanood.workflow import calibrate, evaluate, network, prepared


@pytest.fixture(scope="module")
def lanes():
    return catalog.open("lanes", limit=40)


def counting(data):
    asked = []

    def read(i):
        asked.append(i)
        return data.read(i)

    return dataclasses.replace(data, read=read), asked


def test_a_second_network_reads_no_frame_and_says_the_same(tiny_tflite, lanes, tmp_path):
    data, asked = counting(lanes)
    kept = prepared.Prepared(tmp_path / "kept")
    first = network.load(tiny_tflite["float32"], num_threads=2, prepared=kept.begin()).run(data, "scoring")
    read = len(asked)
    assert read == len(data)
    again = network.load(tiny_tflite["float32"], num_threads=1, prepared=kept.begin()).run(data, "scoring")
    plain = network.load(tiny_tflite["float32"]).run(lanes, "scoring")
    assert len(asked) == read
    for name in plain.outputs:
        np.testing.assert_array_equal(first.outputs[name], plain.outputs[name])
        np.testing.assert_array_equal(again.outputs[name], plain.outputs[name])


def test_unreadable_frames_are_remembered_with_their_reason(tiny_tflite, lanes, tmp_path):
    def read(i):
        if i == 3:
            raise frames.FrameError("cut short")
        return lanes.read(i)

    data = dataclasses.replace(lanes, read=read)
    kept = prepared.Prepared(tmp_path)
    runs = [network.load(tiny_tflite["float32"], prepared=kept.begin()).run(data, "scoring") for _ in range(2)]
    assert runs[0].unreadable == runs[1].unreadable == (f"{data.names[3]}: cut short",)
    assert runs[1].frames.names == runs[0].frames.names


def test_other_words_and_the_same_words_again_are_other_work(tmp_path):
    kept = prepared.Prepared(tmp_path)
    first, second, other = kept.work("scoring"), kept.work("scoring"), kept.work("scoring rain")
    results = [work(0, lambda value=value: (np.array([value]), ["a line"])) for value, work in
               enumerate((first, second, other))]
    assert [int(parts[0][0]) for parts in results] == [0, 1, 2]
    fresh = kept.begin()
    again = fresh.work("scoring")(0, lambda: pytest.fail("was prepared before"))
    assert int(again[0][0]) == 0
    assert again[1] == ["a line"]


def test_frames_at_one_size_are_read_once_and_survive_the_process(lanes, tmp_path):
    data, asked = counting(lanes)
    small = prepared.resized(data, (12, 16), str(tmp_path / "frames"))
    expected = frames.resize(lanes.read(5), (12, 16))
    np.testing.assert_array_equal(small.read(5), expected)
    np.testing.assert_array_equal(small.read(5), expected)
    again = prepared.resized(data, (12, 16), str(tmp_path / "frames"))
    np.testing.assert_array_equal(again.read(5), expected)
    assert asked == [5]
    other = prepared.resized(data, (24, 32), str(tmp_path / "frames"))  # another size is another file's worth
    np.testing.assert_array_equal(other.read(5), frames.resize(lanes.read(5), (24, 32)))


def test_stacks_of_flows_are_kept_flow_by_flow(tmp_path):
    flows = np.random.default_rng(0).integers(0, 256, (9, 4, 3), dtype=np.uint8)
    parts = (stacks.Stacks(flows, np.array([5, 6, 8]), 6), [5, 6, 8], [])
    prepared.Prepared(tmp_path).work("scoring")(0, lambda: parts)
    kept, ends, reasons = prepared.Prepared(tmp_path).work("scoring")(0, lambda: pytest.fail("was prepared before"))
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(parts[0]))
    np.testing.assert_array_equal(kept[1], np.moveaxis(flows[1:7], 0, -1))
    assert (ends, reasons) == ([5, 6, 8], [])


def test_measures_beside_the_frames_are_prepared_once(tiny_tflite, lanes, tmp_path):
    asked = []

    def brightness(images):
        asked.append(len(images))
        return images.mean((1, 2, 3))

    kept = prepared.Prepared(tmp_path)
    plain = network.load(tiny_tflite["float32"], prepared=kept.begin()).run(lanes, "scoring")  # without is other work
    ran = [network.load(tiny_tflite["float32"], prepared=kept.begin()).run(lanes, "scoring", also={"light": brightness})
           for _ in range(2)]
    assert sum(asked) == len(lanes)
    expected = [frames.resize(lanes.read(i), (32, 32)).mean() for i in range(len(lanes))]
    for each in ran:
        np.testing.assert_allclose(each.outputs["light"], expected)
        np.testing.assert_array_equal(each.outputs["mu"], plain.outputs["mu"])


def test_what_a_detector_is_compared_with_is_fitted_once(tiny_tflite, tmp_path):
    data, asked = counting(catalog.open("lanes:frames=400,scene=20"))
    calibrate.calibrate(tiny_tflite["float32"], data, tmp_path / "detector.tflite",
                        detector="kl-typical", benign_variants=0)
    settings = evaluate.Settings(corruptions=("darker",), severities=(3,), stretch_s=1.0, stretches=2)
    kept, path = prepared.Prepared(tmp_path / "kept"), tmp_path / "detector.tflite"
    rows = []
    for folder in (kept.begin(), kept.begin(), None):
        loaded = network.load(path, trusted=True, prepared=folder)
        before = len(asked)
        rows.append(evaluate.score(bundle.load(path), loaded, data, settings).rows)
        read = np.array(asked[before:], int)
        assert (folder is None or len(rows) == 1) == bool((data.split[read] == "train").any())
    assert rows[0] == rows[1] == rows[2]


class Garbage:
    """A circle that lets another thread run while it is collected."""

    def __init__(self):
        self.circle = self

    def __del__(self):
        time.sleep(0)


def test_threads_may_read_while_garbage_is_collected(tmp_path):
    work = prepared.Prepared(tmp_path).work("scoring")
    for number in range(20):
        work(number, lambda: (np.zeros((2, 2)), ["a line"]))

    def read(_):
        for number in 10 * list(range(20)):
            Garbage()
            work(number, lambda: pytest.fail("was prepared before"))

    before = gc.get_threshold()
    gc.set_threshold(50, 1, 1)
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(read, range(2)))
    finally:
        gc.set_threshold(*before)
