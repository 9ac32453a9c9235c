#!/bin/sh
# Installs leanood alone, as a device has it, into an empty environment, and puts it to work: no TensorFlow, no OpenCV.
# Usage: tests/base_install.sh [PYTHON_WITH_TENSORFLOW [PYTHON]]   (the first writes the model, default: python3; into the
# second's environment leanood is installed, default: the first's)
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
host=${1:-python3}
device=${2:-$host}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "writing the model …"
"$host" "$root/tests/tiny_models.py" "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
echo "installing leanood into an empty environment …"
"$device" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "$root"
cd "$work"
venv/bin/python - <<'PYTHON'
import importlib.util

for absent in ("tensorflow", "tf_keras", "cv2", "sklearn", "scipy", "rich"):
    assert importlib.util.find_spec(absent) is None, f"a base install has {absent}"
import numpy as np
from leanood.ood import detector, kl_topk
from leanood.tflite import bundle, runtime

frames = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
np.save("frames.npy", frames)
frames.tofile("frames.raw")
outputs = runtime.load("latent_int8.tflite").each(frames)
calibrated = detector.Detector.calibrate(kl_topk.KlTopK(k=2).fit(outputs), outputs, window=5)
calibrated.decay, calibrated.threshold = 1.0, 3.0
fields = {**calibrated.config(), "kind": "latent", "outputs": ["logvar", "mu"], "fps": 20.0, "input": {"size": [32, 32]}}
bundle.write("detector.tflite", bundle.flatbuffer("latent_int8.tflite"), fields, calibrated.to_arrays())
verdict = bundle.load("detector.tflite")(frames[0])
assert not verdict.invalid
print("scores:", verdict)
PYTHON
venv/bin/leanood benchmark detector.tflite --runs=20
venv/bin/leanood info detector.tflite
venv/bin/leanood monitor detector.tflite --source=frames.npy --json --view=none
venv/bin/leanood monitor detector.tflite --source=- --frame_size=32x32 --json --view=none <frames.raw
if venv/bin/leanood monitor detector.tflite --source=0 2>error; then
  echo "a camera without OpenCV was not refused"; exit 1
fi
grep -q "cameras need OpenCV: pip install 'leanood\[video\]'" error || { cat error; exit 1; }
test "$(venv/bin/pip list --format=freeze | grep -ci '^tensorflow')" = 0
echo "the base install works"
# With OpenCV: a detector of motion watches a video.
venv/bin/pip install --quiet --disable-pip-version-check "$root[video]"
venv/bin/python - <<'PYTHON'
import cv2
import numpy as np
from leanood.data import flow, stacks
from leanood.ood import detector, flow_kl
from leanood.tflite import bundle, runtime

picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (140, 400, 3)).astype(np.uint8), (0, 0), 3)
frames = [np.ascontiguousarray(picture[10:130, 2 * i:2 * i + 160]) for i in range(90)]
frames[70:] = [frames[70]] * 20
writer = cv2.VideoWriter("drive.avi", cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (160, 120))
for frame in frames:
    writer.write(frame[..., ::-1])
writer.release()
settings = flow.Settings()
outputs = runtime.load("motion.tflite").each(stacks.of_frames(frames[:60], settings))
calibrated = detector.Detector.calibrate(flow_kl.FlowKl().fit(outputs), outputs, window=5)
calibrated.decay, calibrated.threshold = float("inf"), 5.0
fields = {**calibrated.config(), "kind": "flow", "outputs": list(flow_kl.OUTPUTS), "fps": 20.0,
          "input": {"size": [120, 160], "flow": settings.to_json()}}
bundle.write("watching.tflite", bundle.flatbuffer("motion.tflite"), fields, calibrated.to_arrays())
PYTHON
venv/bin/leanood monitor watching.tflite --source=drive.avi --json --view=none
venv/bin/leanood monitor watching.tflite watching.tflite --source=drive.avi --json --view=none
test "$(venv/bin/pip list --format=freeze | grep -ci '^tensorflow')" = 0
echo "motion works from the base install with the video extra"
# PyPI has a package of its own named tflite: the two live side by side.
venv/bin/pip install --quiet --disable-pip-version-check tflite
venv/bin/python -c "import tflite, leanood.tflite.runtime; assert hasattr(tflite, 'Model') and 'leanood' not in tflite.__file__"
