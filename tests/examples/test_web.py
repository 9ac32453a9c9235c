"""The web example in headless Chromium with a fake camera: on the frames that it saw, it says what Python says."""
import base64
import functools
import http.server
import pathlib
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from leanood.data import frames
from leanood.tflite import bundle

WEB = pathlib.Path(__file__).resolve().parents[2] / "examples" / "web"
SIZE = (128, 128)  # of the camera's pictures: two halvings from the detector's
RATE = 20
pytestmark = pytest.mark.xdist_group("web")


def _chromium():
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    try:
        import chromium
    finally:
        sys.path.pop(0)
    return chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The address of the page, with its packages as package-lock.json pins them."""
    for tool, program in (("npm", shutil.which("npm")), ("Chromium", _chromium().program())):
        if not program:
            pytest.skip(f"no {tool} here")
    root = tmp_path_factory.mktemp("web")
    for name in ("index.html", "page.js", "detector.js", "resize.js", "package.json", "package-lock.json"):
        shutil.copy(WEB / name, root / name)
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=root, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A .y4m film: ordinary pictures, then negatives, over and over; grey, which the way to YUV and back spares."""
    path = tmp_path_factory.mktemp("camera") / "film.y4m"
    with open(path, "wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420mpeg2\n" % (SIZE[1], SIZE[0], RATE))
        for number, grey in enumerate(_grey(80)):
            level = 255 - grey if 40 <= number < 60 else grey
            file.write(b"FRAME\n" + np.rint(16 + level * (219 / 255)).astype(np.uint8).tobytes())
            file.write(bytes([128]) * (SIZE[0] * SIZE[1] // 2))
    return path


def _grey(count):
    """uint8 [count, h, w]: noise over a fixed picture."""
    picture = np.random.default_rng(0).uniform(60, 190, (8, 8)).repeat(SIZE[0] // 8, 0).repeat(SIZE[1] // 8, 1)
    return np.clip(picture + np.random.default_rng(5).normal(0, 20, (count, *SIZE)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def page(site, camera, tmp_path_factory):
    page = _chromium().Page(tmp_path_factory.mktemp("profile"), camera, site)
    page.wait("document.readyState === 'complete'")
    yield page
    page.close()


@pytest.fixture(scope="module")
def calibrated(make_whole):
    pictures = frames.resize(np.repeat(_grey(120)[..., None], 3, -1), (32, 32))
    return {quantize: make_whole(quantize, pictures) for quantize in ("float32", "int8")}


def _watch(page, path, count):
    """(frames uint8 [count, h, w, 3], verdicts) that the page saw."""
    page.choose("#file", path)
    page.wait("!document.querySelector('#camera').disabled || document.querySelector('#message').textContent")
    assert page.run("document.querySelector('#message').textContent") == ""
    page.run("""(() => { window.seen = []; window.onverdict = ({detail}) => seen.push(detail);
                 addEventListener('verdict', onverdict); document.querySelector('#camera').click(); })()""")
    page.wait(f"seen.length >= {count}")
    page.run("document.querySelector('#stop').click(), removeEventListener('verdict', onverdict)")
    page.wait("document.querySelector('#stop').disabled")
    pixels, height, width = page.run(f"""(async () => {{
      const all = seen.slice(0, {count}).map(({{frame}}) => frame.data);
      const url = await new Promise((done) => {{
        const reader = new FileReader();
        reader.onload = () => done(reader.result);
        reader.readAsDataURL(new Blob(all));
      }});
      return [url.split(',')[1], seen[0].frame.height, seen[0].frame.width];
    }})()""")
    pictures = np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(count, height, width, 4)[..., :3]
    return np.ascontiguousarray(pictures), page.run(f"seen.slice(0, {count}).map(({{verdict}}) => verdict)")


@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_the_page_says_what_python_says(page, calibrated, quantize):
    pictures, theirs = _watch(page, calibrated[quantize], 90)
    detector = bundle.load(calibrated[quantize])
    ours = [detector(frame) for frame in pictures]
    # Python smooths p-values at random: where its score is at the threshold, the two may differ.
    clear = [abs(verdict.score - detector.detector.threshold) > 0.05 for verdict in ours]
    assert sum(clear) > 80
    assert all(a["alarm"] == b.alarm for a, b, far in zip(theirs, ours, clear) if far)
    assert {verdict.alarm for verdict in ours} == {True, False}
    # The same graph in Python: its p-values aren't smoothed at random.
    state = np.zeros(detector.runner.inputs["state"].shape, np.float32)
    off = []
    for frame, verdict in zip(pictures, theirs):
        said = detector.runner({"frame": frames.resize(frame, (32, 32)), "state": state})
        state = said["state"]
        off.append((verdict["score"] - said["score"][0], verdict["pValue"] - said["p_value"][0]))
    assert np.abs(off).max() < 1e-3
    assert max(abs(a["score"] - b.score) for a, b in zip(theirs, ours)) < 0.05


@pytest.mark.parametrize("size", [(480, 640, 120, 160), (480, 640, 64, 64), (31, 47, 20, 16), (20, 30, 32, 32),
                                  (20, 60, 32, 32)])
def test_the_page_resizes_as_python_does(page, size):
    height, width, *target = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    encoded = base64.b64encode(image.tobytes()).decode()
    resized = page.run(f"""(async () => {{
      const {{resize}} = await import('./resize.js');
      const data = Uint8ClampedArray.from(atob('{encoded}'), (letter) => letter.charCodeAt(0));
      return [...resize({{width: {width}, height: {height}, data}}, {target[1]}, {target[0]}).data];
    }})()""")
    expected = frames.resize(np.ascontiguousarray(image[..., :3]), tuple(target))
    off = np.abs(np.array(resized).reshape(expected.shape) - expected.astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


def test_the_page_refuses_other_files_in_a_line(page, tiny_detector, tiny_models):
    for path, message in ((tiny_detector, "its graph holds no whole detector; make it with leanood calibrate --fold="),
                          (tiny_models / "latent_float32.tflite", "it is no detector file")):
        page.choose("#file", path)
        page.wait(f"document.querySelector('#message').textContent.includes({message!r})")


def test_nothing_leaves_the_machine(page):
    refused = "fetch('https://example.org/').then(() => 'sent', (error) => error.name)"
    assert page.run(f"""new Promise((done) => {{
        addEventListener('securitypolicyviolation', ({{effectiveDirective}}) => done(effectiveDirective));
        {refused}; }})""") == "connect-src"
