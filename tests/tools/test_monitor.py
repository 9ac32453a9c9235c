"""The monitor: every source, exact resumption, alarms, deadlines, clean stops; info; whatever goes wrong is told."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from leanood.data import chroma, live, stream, streams
from leanood.tflite import bundle
from leanood.workflow import journal, monitor, view

SAME = ("frame", "name", "score", "p_value", "log_martingale", "nonconformity", "alarm", "raised", "partition",
        "invalid")


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """[60, 32, 32, 3] frames, number 40 one colour; and the .npy file of them."""
    frames = np.random.default_rng(11).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    frames[40] = 7
    path = tmp_path_factory.mktemp("camera") / "frames.npy"
    np.save(path, frames)
    return frames, path


def _leanood(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "leanood.tools.main", *map(str, arguments)], capture_output=True,
                          **{"timeout": 120, **options})


def _summary(child):
    assert child.returncode == 0, child.stderr.decode()
    return json.loads(child.stdout)


def _lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


# Sources.


def test_a_stack_gives_its_frames_and_says_where_it_is_cut(camera, tmp_path):
    frames, path = camera
    items = list(streams.open(str(path)).items(58))
    assert [item.name for item in items] == [f"{path}[58]", f"{path}[59]"]
    np.testing.assert_array_equal(items[1].frame, frames[59])
    cut = tmp_path / "cut.npy"
    cut.write_bytes(path.read_bytes()[:-100])
    last = list(streams.open(str(cut)).items())[-1]
    assert last.frame is None
    assert last.problem == f"{cut}[59]: the file ends before it"


@pytest.mark.parametrize(("array", "message"), [
    (np.zeros((4, 8, 8)), "holds float64 .4, 8, 8., frames are .N, height, width, 3."),
    (np.array([None]), "not a .npy file of numbers"),
])
def test_stacks_of_something_else_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=message):
        streams.open(str(tmp_path / "a.npy"))


def test_a_folder_is_read_in_natural_order_and_bad_files_are_told(tmp_path):
    for name in ("10.npy", "2.npy", "b/1.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, np.full((4, 4, 3), 1, np.uint8))
    (tmp_path / "3.npy").write_bytes(b"no array")
    (tmp_path / "notes.txt").write_text("not looked at")
    items = list(streams.open(str(tmp_path)).items())
    assert [os.path.relpath(item.name, tmp_path) for item in items] == ["2.npy", "3.npy", "10.npy", "b/1.npy"]
    assert items[1].frame is None
    assert "3.npy: not a .npy file" in items[1].problem


def test_videos_are_read_and_their_damage_is_told(tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "a.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 20, (32, 24))
    for level in range(10):
        writer.write(np.full((24, 32, 3), (0, 0, 20 * level), np.uint8))  # OpenCV's BGR: red
    writer.release()
    items = list(streams.open(path).items(3))
    assert len(items) == 7
    assert items[0].name == f"{path}[3]"
    assert items[0].frame.shape == (24, 32, 3)
    assert items[-1].frame[0, 0, 0] > 150 > items[-1].frame[0, 0, 2]
    with open(tmp_path / "b.avi", "wb") as file:
        file.write(b"no video")
    with pytest.raises(ValueError, match="b.avi is no video that OpenCV can read"):
        streams.open(str(tmp_path / "b.avi"))


def test_a_folder_of_videos_is_watched_one_after_another(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for name, level, count in (("10.avi", 200, 4), ("9.avi", 40, 6)):
        writer = cv2.VideoWriter(str(tmp_path / name), cv2.VideoWriter_fourcc(*"MJPG"), 20, (32, 24))
        for _ in range(count):
            writer.write(np.full((24, 32, 3), level, np.uint8))
        writer.release()
    (tmp_path / "9b.avi").write_bytes(b"no video")
    os.mkfifo(tmp_path / "11.mp4")  # nobody writes into it
    (tmp_path / ".9.avi").write_bytes(b"hidden")
    source = streams.open(str(tmp_path))
    items = list(source.items())
    assert source.length == len(items) == 12
    assert [os.path.basename(item.name) for item in items[5:8]] == ["9.avi[5]", "9b.avi", "10.avi[0]"]
    assert [round(item.frame.mean(), -1) for item in (items[5], items[7])] == [40, 200]
    assert [number for number, item in enumerate(items) if item.gap] == [7]  # no motion from one to the next
    assert items[6].problem.endswith("9b.avi is no video that OpenCV can read")
    assert items[11].problem.endswith("11.mp4 is no file")
    assert [item.name for item in source.items(8)] == [item.name for item in items[8:]]


@pytest.mark.parametrize(("spec", "options", "message"), [
    ("nowhere", {}, "source nowhere does not exist"),
    ("-", {}, "raw frames on standard input need their size: --frame_size=HEIGHTxWIDTH"),
    (".", {"stall_s": 0}, "stall_s is 0, it must be positive"),
])
def test_sources_that_are_none_are_refused(spec, options, message):
    with pytest.raises((ValueError, OSError), match=message):
        streams.open(spec, **options)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no images \(.*\) and no videos"):
        streams.open(str(tmp_path))


def test_a_slow_reader_of_a_live_source_gets_the_newest_frame():
    number = iter(range(1, 10**9))

    def read():
        time.sleep(0.005)
        return np.full((2, 2, 3), next(number) % 251, np.uint8)

    source = live.Live("fake", read, stall_s=1.0)
    items = []
    for item in source.items():
        if item is not None:
            items.append(item)
            time.sleep(0.05)
        if len(items) == 6:
            break
    source.close()
    newest = [int(item.frame[0, 0, 0]) for item in items]
    assert newest == sorted(newest)
    assert newest[-1] - newest[0] > 10  # five readings of 50 ms at 200 frames a second
    assert sum(item.dropped for item in items[1:]) == newest[-1] - newest[0] - 5  # every frame was seen or counted


def test_a_live_source_that_stalls_or_vanishes_is_told():
    wait = threading.Event()
    stalled = live.Live("stuck", lambda: wait.wait(10) and None, stall_s=0.05)
    items = (item for item in stalled.items() if item is not None)
    assert [next(items).problem for _ in range(2)] == ["stuck: no frame for 0.05 s"] * 2
    stalled.close()
    wait.set()
    gone = live.Live("unplugged", lambda: None, stall_s=0.05)
    assert [item.problem for item in gone.items() if item is not None][-1] == "unplugged: the source has vanished"


def test_a_pipe_that_stalls_is_told_and_nothing_is_dropped():
    reader, writer = os.pipe()
    source = live.Raw(reader, (2, 2), stall_s=0.25)
    os.write(writer, bytes(range(12)) + b"half")
    items = (item for item in source.items() if item is not None)
    np.testing.assert_array_equal(next(items).frame.ravel(), np.arange(12))
    assert next(items).problem == "stdin: no frame for 0.25 s"
    os.write(writer, b"12345678")
    assert next(items).frame.tobytes() == b"half12345678"
    os.write(writer, b"x")
    os.close(writer)
    assert "the last frame has 1 bytes of 12: the writer stopped, or --frame_size is wrong" in next(items).problem
    os.close(reader)


# The loop.


def test_records_and_counts(tiny_detector, camera):
    frames, path = camera
    watch = monitor.Watch(bundle.load(tiny_detector), deadline_s=1e-9)
    records = []
    monitor.watch(streams.open(str(path)).items(), watch, lambda: False, records.append)
    detector = bundle.load(tiny_detector)
    verdicts = [detector(frame) for frame in frames]
    assert [record["score"] for record in records] == [verdict.score for verdict in verdicts]
    assert [record["alarm"] for record in records] == [verdict.alarm for verdict in verdicts]
    alarms = np.array([False] + [verdict.alarm for verdict in verdicts])
    summary = watch.summary()
    assert summary["alarms"] == np.count_nonzero(alarms[1:] & ~alarms[:-1]) >= 1
    assert summary["alarm_frames"] == np.count_nonzero(alarms)
    assert summary["invalid"] == 1
    assert summary["deadline_misses"] == summary["frames"] == 60
    assert "all of one colour, not finite, or nothing that can be judged" in records[40]["problem"]
    for stage in ("read", "preprocess", "invoke", "detect"):
        assert 0 <= records[0][f"{stage}_ms"] <= records[0]["latency_ms"]


def test_frames_that_cannot_be_judged_are_invalid_and_the_watch_goes_on(tiny_detector):
    items = [stream.Item("a", np.zeros((4, 4), np.uint8), "", time.perf_counter()),
             stream.Item("b", None, "b: torn", time.perf_counter()), None,
             stream.Item("c", np.full((4, 4, 3), np.nan), "", time.perf_counter())]
    watch = monitor.Watch(bundle.load(tiny_detector), None)
    records = []
    monitor.watch(items, watch, lambda: False, records.append)
    assert [record["invalid"] for record in records] == [True] * 3
    assert [record["alarm"] for record in records] == [True] * 3
    assert [record["raised"] for record in records] == [True, False, False]
    assert "its shape is [4, 4], a frame's is [height, width, 3]" in records[0]["problem"]
    assert records[1]["problem"] == "b: torn"


@pytest.mark.parametrize("kept", [0, 1, 3, 5, 17, 41, 43, 60])
def test_resumption_gives_exactly_the_numbers_of_an_uninterrupted_watch(tiny_detector, camera, tmp_path, kept):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    words = ("monitor", tiny_detector, f"--source={camera[1]}", "--view=none", "--json")
    if not kept:
        _summary(_leanood(*words, f"--jsonl={cut}", "--resume"))
        assert len(_lines(cut)) == 60
        return
    detector, lines = bundle.load(tiny_detector), journal.Journal(str(whole))
    monitor.watch(streams.open(str(camera[1])).items(), monitor.Watch(detector, None), lambda: False, lines.write)
    lines.close()
    text = whole.read_text().splitlines(keepends=True)
    cut.write_text("".join(text[:kept]) + '{"frame": ')  # killed amidst a line
    again = bundle.load(tiny_detector)
    past = journal.resume(again, streams.open(str(camera[1])), str(cut))
    assert past.frames == kept
    lines = journal.Journal(str(cut))
    watch = monitor.Watch(again, None, past.frames, past.tail[-1]["alarm"])
    monitor.watch(streams.open(str(camera[1])).items(kept), watch, lambda: False, lines.write)
    lines.close()
    numbers = [[[line[key] for key in SAME] for line in _lines(path)] for path in (cut, whole)]
    assert numbers[0] == numbers[1]


def test_resuming_with_another_journal_is_refused(tiny_detector, camera, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"frame": 0, "name": "x[0]", "p_value": 0.5, "score": 0.0}\n')
    source = streams.open(str(camera[1]))
    with pytest.raises(ValueError, match=r"a.jsonl: frame 0 was x\[0\], or had another p-value: it is of another"):
        journal.resume(bundle.load(tiny_detector), source, str(path))
    path.write_text("hello\n")
    with pytest.raises(ValueError, match="line 1 is not frame 0 of a monitor's journal"):
        journal.resume(bundle.load(tiny_detector), source, str(path))


def test_resuming_with_another_detector_is_refused(tiny_detector, camera, tmp_path):
    path, other = tmp_path / "a.jsonl", tmp_path / "other.tflite"
    monitor.monitor(tiny_detector, str(camera[1]), jsonl=str(path))
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:30]))
    parts = bundle.read(tiny_detector)
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(other, parts.model, {**fields, "threshold": fields["threshold"] + 1e-6}, parts.arrays)
    known = [bundle.load(file).identity for file in (tiny_detector, other)]
    with pytest.raises(ValueError, match=f"judged by the detector {known[0]}, this one is {known[1]} .*go on with tha"):
        monitor.monitor(other, str(camera[1]), jsonl=str(path), resume=True)  # its p-values are the same
    assert len(_lines(path)) == 30
    bundle.write(other, parts.model, {**fields, "metrics": [{"auroc": 0.9}]}, parts.arrays)  # evaluated meanwhile
    monitor.monitor(other, str(camera[1]), jsonl=str(path), resume=True)
    assert [[line[key] for key in SAME] for line in _lines(path)] == [
        [line[key] for key in SAME] for line in map(json.loads, whole.splitlines())]
    path.write_text("".join(f"{json.dumps({key: line[key] for key in SAME})}\n" for line in _lines(path)[:30]))
    monitor.monitor(tiny_detector, str(camera[1]), jsonl=str(path), resume=True)  # a journal from before it was told


def test_infinity_is_null_in_the_journal(tmp_path):
    lines = journal.Journal(str(tmp_path / "a.jsonl"))
    lines.write({"frame": 0, "nonconformity": float("inf"), "score": float("nan"), "p_value": 0.5})
    lines.close()
    assert _lines(tmp_path / "a.jsonl") == [{"frame": 0, "nonconformity": None, "score": None, "p_value": 0.5}]


# The verb.


def test_raw_frames_and_stack_and_folder_agree(tiny_detector, camera, tmp_path):
    frames, path = camera
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, frame in enumerate(frames):
        np.save(folder / f"{i}.npy", frame)
    journals = []
    for source, options, raw in ((path, [], None), (folder, [], None), ("-", ["--frame_size=32x32"], frames.tobytes())):
        journals.append(tmp_path / f"{len(journals)}.jsonl")
        summary = _summary(_leanood("monitor", tiny_detector, f"--source={source}", f"--jsonl={journals[-1]}", "--json",
                                    *options, input=raw))
        assert (summary["frames"], summary["invalid"]) == (60, 1)
    scores = [[line["score"] for line in _lines(path)] for path in journals]
    assert scores[0] == scores[1] == scores[2]


def test_raw_planar_frames_are_those_that_the_chroma_was_taken_from(tiny_detector, camera, tmp_path):
    rounded = np.stack([chroma.subsampled(frame, "4:2:0") for frame in camera[0]])
    journals = [tmp_path / "rgb.jsonl", tmp_path / "yuv420.jsonl"]
    for path, raw in zip(journals, (rounded.tobytes(), b"".join(map(chroma.to_yuv420, camera[0])))):
        summary = _summary(_leanood("monitor", tiny_detector, "--source=-", "--frame_size=32x32", f"--jsonl={path}",
                                    f"--pixel_format={path.stem}", "--json", input=raw))
        assert summary["frames"] == 60
    rgb, planar = ([line["nonconformity"] for line in _lines(path) if line["nonconformity"]] for path in journals)
    np.testing.assert_allclose(planar, rgb, rtol=0.2)  # OpenCV rounds a level otherwise, here and there


def test_an_unknown_pixel_format_is_refused():
    with pytest.raises(ValueError, match="pixel_format is 'nv12'; raw frames are rgb or yuv420"):
        streams.open("-", frame_size=(2, 2), pixel_format="nv12")


def test_a_command_runs_when_the_alarm_is_raised(tiny_detector, camera, tmp_path):
    marker = tmp_path / "alarm"
    child = _leanood("monitor", tiny_detector, f"--source={camera[1]}", "--json",
                     f"--on_alarm=sh -c 'sleep 0.3; echo said; echo $LEANOOD_FRAME >> {marker}'")
    alarms = _summary(child)["alarms"]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not (marker.exists() and len(marker.read_text().split()) == alarms):
        time.sleep(0.05)
    assert "40" in marker.read_text().split()
    assert "ALARM at frame 40" in child.stderr.decode()
    assert f"invalid frame 40: {camera[1]}[40]: all of one colour" in child.stderr.decode()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_watch_with_its_summary(tiny_detector, camera, tmp_path, stop):
    path = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "leanood.tools.main", "monitor", str(tiny_detector), "--source=-",
               "--frame_size=32x32", f"--jsonl={path}", "--json", "--view=none"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdin.write(camera[0][:5].tobytes())
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (path.exists() and len(path.read_text().splitlines()) == 5):
        time.sleep(0.02)
    child.send_signal(stop)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err.decode()
    assert json.loads(out)["frames"] == 5


def test_the_journal_can_be_stdout(tiny_detector, camera):
    child = _leanood("monitor", tiny_detector, f"--source={camera[1]}", "--jsonl=-", "--view=none")
    assert [json.loads(line)["frame"] for line in child.stdout.decode().splitlines()] == list(range(60))
    assert "deadline_misses" in child.stderr.decode()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--source=x"], "leanood monitor takes a detector file, or several"),
    (["DETECTOR"], "leanood monitor: --source is needed; `leanood monitor --help` lists the flags"),
    (["DETECTOR", "--source=nowhere"], "source nowhere does not exist"),
    (["DETECTOR", "--source=-"], "raw frames on standard input need their size"),
    (["DETECTOR", "--source=-", "--frame_size=big"], "size is 'big'"),
    (["DETECTOR", "--source=FRAMES", "--deadline_ms=0"], "--deadline_ms=0.0: it must be positive"),
    (["DETECTOR", "--source=FRAMES", "--resume"], "--resume needs the journal of the monitor that was stopped"),
    (["DETECTOR", "--source=-", "--frame_size=2x2", "--jsonl=/tmp/x.jsonl", "--resume"], "--resume goes on with files"),
    (["DETECTOR", "--source=FRAMES", "--on_alarm=no_such_command"], "there is no command 'no_such_command'"),
    (["DETECTOR", "--source=FRAMES", "--jsonl=/nowhere/a.jsonl"], "No such file or directory: '/nowhere/a.jsonl'"),
    (["PLAIN", "--source=FRAMES"], "a plain TFLite model, not calibrated (or cut off): run leanood calibrate"),
])
def test_the_verbs_mistakes_are_told_in_one_line(tiny_detector, tiny_models, camera, arguments, message):
    plain = tiny_models / "latent_float32.tflite"
    for short, path in (("DETECTOR", tiny_detector), ("PLAIN", plain), ("FRAMES", camera[1])):
        arguments = [argument.replace(short, str(path)) for argument in arguments]
    child = _leanood("monitor", *arguments, stdin=subprocess.DEVNULL)
    assert child.returncode == 2, child.stderr.decode()
    lines = [line for line in child.stderr.decode().splitlines() if not line.startswith("INFO: Created TensorFlow")]
    assert len(lines) == 1
    assert message in lines[0]


def test_a_full_disk_ends_the_journal_and_not_the_monitor(tiny_detector, camera):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    child = _leanood("monitor", tiny_detector, f"--source={camera[1]}", "--jsonl=/dev/full", "--view=none")
    assert child.returncode == 0
    assert child.stderr.decode().count("/dev/full: not written, No space left on device; the monitor goes on") == 1


# The view.


def test_the_sparkline_runs_from_least_to_greatest():
    assert view.sparkline([0.0, 1.0, 3.5, 7.0]) == "▁▂▄█"
    assert view.sparkline([2.0, 2.0, float("inf")]) == "▁▁!"
    assert view.sparkline([]) == ""


def test_the_rich_view_shows_score_latency_and_alarm(tiny_detector, camera, monkeypatch, capsys):
    pytest.importorskip("rich")
    shown = view.make("rich", "detector.tflite", 3.0)
    watch = monitor.Watch(bundle.load(tiny_detector), None)
    monitor.watch(streams.open(str(camera[1])).items(38), watch, lambda: False,
                   lambda record: shown.show(record, watch.counts))
    shown.close()
    text = capsys.readouterr().out
    for word in ("detector.tflite", "score", "alarm above 3", "latency ms", "invoke", "frames"):
        assert word in text
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ValueError, match="the terminal view needs Rich: pip install 'leanood.video.'"):
        view.make("rich", "", None)
    assert type(view.make("auto", "", None)) is view.Plain


# Info.


def test_info_tells_what_a_detector_file_holds_and_where_it_runs(tiny_detector):
    told = _summary(_leanood("info", tiny_detector, "--json"))
    assert told["detector"] == bundle.read(tiny_detector).detector
    assert told["runs_on"] == {title: [] for title in ("tflite-runtime 2.13", "tflite-runtime 2.14", "LiteRT 2.3",
                                                       "the GPU delegate")}
    assert told["here"]["LiteRT"] == "yes, cpu: the whole graph, 1 thread"
    text = _leanood("info", tiny_detector, "--notry_here").stdout.decode()
    for word in ("bright, medium (subset)", "calibration.0", "CONV_2D", "threshold", "SHA-256 of arrays", "No metrics"):
        assert word in text


def test_info_shows_metrics_and_provenance_and_obeys_no_escapes(tiny_detector, tmp_path):
    parts = bundle.read(tiny_detector)
    fields = {key: value for key, value in parts.detector.items() if key not in ("schema", "sha256")}
    fields.update(metrics=[{"rows": [{"set": "rain", "auroc": 0.875}, {"set": "fog\x1b[2J", "auroc": 0.5}],
                            "benign": [{"change": "noise_1", "alarmed": 0.05, "silent": True},
                                       {"change": "yuv420", "alarmed": 0.62, "silent": False}]}],
                  provenance={"data": {"source": "lanes", "seed": 3}})
    bundle.write(tmp_path / "d.tflite", parts.model, fields, parts.arrays)
    text = _leanood("info", tmp_path / "d.tflite", "--notry_here").stdout.decode()
    assert "rain" in text
    assert "0.875" in text
    assert "data.seed" in text
    assert "fog?[2J" in text
    assert "NOT SILENT on 1 of 2 benign changes" in text
    assert "yuv420 (0.62)" in text
    assert "\x1b" not in text


def test_info_of_plain_and_damaged_files(tiny_models, tmp_path):
    text = _leanood("info", tiny_models / "dense_12.tflite", "--notry_here").stdout.decode()
    assert "A plain TFLite model, not calibrated: leanood calibrate makes a detector file of it." in text
    assert "FULLY_CONNECTED version 12 (×2): tflite-runtime 2.14 knows versions up to 10" in text
    (tmp_path / "a.tflite").write_bytes(b"hello, world")
    for path, message in ((tmp_path / "a.tflite", "not a TFLite file"), (tmp_path / "b", "No such file or directory")):
        child = _leanood("info", path)
        assert child.returncode == 2
        assert message in child.stderr.decode()
        assert len(child.stderr.decode().splitlines()) == 1
