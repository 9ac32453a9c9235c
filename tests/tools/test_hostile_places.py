"""Verbs in a place that others have filled: modules beside the model, code in a run, a terminal that is narrow."""
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from leanood.models import run
from leanood.workflow import calibrate, convert, evaluate

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAIN = str(ROOT / "tools" / "main.py")
STARTERS = {"models/keras3/rebuild.py", "tflite/probe.py", "tflite/timing/worker.py"}  # each by files/child.py


@pytest.mark.parametrize("arguments", [("info",), ("benchmark", "--runs=3", "--warmup=1"),
                                       ("monitor", "--view=none", "--source=frames.npy")])
def test_verbs_import_nothing_from_the_folder_they_stand_in(tiny_detector, tmp_path, arguments):
    for module in ("numpy", "json", "runpy", "absl", "ai_edge_litert", "tensorflow", "leanood"):
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    verb, *others = arguments
    done = subprocess.run([sys.executable, MAIN, verb, str(tiny_detector), *others], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "was_run").exists()


def test_every_child_of_ours_is_started_the_safe_way():
    folders = ("data", "files", "models", "ood", "tflite", "tools", "workflow", "compression")
    starting = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for folder in folders
                for path in (ROOT / folder).rglob("*.py")}
    starting = {name: text for name, text in starting.items() if "sys.executable" in text or "subprocess.run" in text
                or re.search(r"= subprocess\.Popen", text)}
    assert set(starting) == STARTERS | {
        "files/child.py", "workflow/monitor.py"}  # the user's command; our verbs, by a script's path
    assert all(re.search(r"child\w*\.command\(", starting[name]) for name in STARTERS)


def test_code_in_a_runs_folder_is_not_run(tmp_path):
    import tf_keras

    trace = tmp_path / "was_run"
    frame = tf_keras.Input((16, 16, 3), name="frame")
    touched = tf_keras.layers.Lambda(lambda x, path=str(trace): (open(path, "w").close(), x)[1])(frame)  # noqa: SIM115
    folder = tmp_path / "run"
    opened = run.Run.create(str(folder), {"model": "bvae", "size": [16, 16], "data": {"spec": "lanes"}})
    for part in ("encoder", "decoder", "classifier"):
        tf_keras.Model(frame, {"mu": touched, "logvar": touched}).save(opened.file(f"{part}.h5"))
    trace.unlink()
    for part in ("encoder", "decoder", "classifier"):
        with pytest.raises(ValueError, match=r"holds code .a Lambda layer.*--unsafe"):
            opened.model(part)
    with pytest.raises(ValueError, match="holds code"):
        convert.convert(str(folder))
    assert not trace.exists()


def test_a_folder_of_jpegs_without_opencv_is_one_line_and_no_summary(tiny_detector, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    code = "import sys; sys.modules['cv2'] = None; sys.argv = sys.argv[1:]; from leanood.tools import main; main.run()"
    done = subprocess.run([sys.executable, "-c", code, "leanood", "monitor", str(tiny_detector), "--view=none",
                           f"--source={tmp_path}"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "leanood monitor: image files need OpenCV: pip install 'leanood[video]'\n"


@pytest.mark.parametrize("columns", [60, 100])
def test_tables_fit_the_terminal(tiny_detector, columns):
    parent, terminal = pty.openpty()
    environment = dict(os.environ, COLUMNS=str(columns))
    said = b""

    def read():
        nonlocal said
        while True:
            try:
                more = os.read(parent, 65536)
            except OSError:  # the terminal has gone
                return
            if not more:
                return
            said += more

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run([sys.executable, MAIN, "info", str(tiny_detector), "--notry_here"], env=environment,
                          stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.PIPE, timeout=120)
    os.close(terminal)
    reader.join(20)
    os.close(parent)
    assert done.returncode == 0, done.stderr
    lines = said.decode().splitlines()
    assert max(map(len, lines)) <= columns
    assert len(lines) > 30


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """A folder of in-distribution images alone."""
    import cv2

    folder, random = tmp_path_factory.mktemp("days"), np.random.default_rng(0)
    for i in range(100):
        picture = np.clip(random.normal(140, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    return str(folder)


def test_with_in_distribution_images_alone_there_is_something_to_see(tiny_models, days, tmp_path):
    path, out = str(tmp_path / "d.tflite"), tmp_path / "results"
    model = str(tiny_models / "classifier_float32.tflite")
    brief, verbose = (str(calibrate.calibrate(model, days, path, benign_variants=0, verbose=verbose))
                      for verbose in (False, True))
    assert "alarm threshold" in brief
    assert len(brief.splitlines()) < len(verbose.splitlines())
    report = evaluate.evaluate(path, out=str(out), corruptions=["darker", "noise"], severities=[5], benign=[])
    assert set(report.roc) == {"darker 5", "noise 5"} == set(report.scores) - {"in-distribution"}
    assert {"roc.png", "histograms.png"} <= {os.path.basename(name) for name in report.summary["written"]}
    assert all((out / name).stat().st_size > 5000 for name in ("roc.png", "histograms.png"))
    assert json.loads((out / "evaluation.json").read_text())["rows"][0]["set"] == "darker 5"
    shutil.rmtree(out)
