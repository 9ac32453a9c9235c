#!/bin/sh
# Installs leanood alone as Linux on arm64 does it, lets it watch a drive there, and compares with this machine.
# Debian's arm64 Python runs under qemu-user: apt-get install mmdebstrap qemu-user-static ca-certificates
# Usage: tests/arm64.sh [PYTHON_WITH_TENSORFLOW [SUITE …]]   (default: python3 bookworm, whose Python is 3.11)
# LiteRT 2.2 and 2.3 end in a segmentation fault under qemu-user 7.2, as soon as an Interpreter is made, with each processor and
# operator resolver that was tried, which says nothing of boards; so the arm64 side has LiteRT 2.1, and tflite-runtime where there is one. The
# processors are the Nano's Cortex-A57, and for Orin's A78AE the A76, with dot products and half floats as it has: what qemu 7.2
# emulates by default has instructions beyond them, with which int8 networks put out something else.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
host=${1:-python3}
case $host in */*) host=$(cd "$(dirname "$host")" && pwd)/$(basename "$host") ;; esac  # the work is done in another folder
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- bookworm
for tool in mmdebstrap qemu-aarch64-static; do
  command -v $tool >/dev/null || { echo "arm64: skipped, $tool is not here (apt-get install mmdebstrap qemu-user-static)"; exit 0; }
done
cache="$root/.build/arm64"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"

echo "calibrating a detector, and watching a drive with it on $(uname -m) …"
"$host" "$root/tests/tiny_models.py" "$work" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$host" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$work" "$root"
cd "$work"
"$host" - <<'PYTHON'
import numpy as np
from leanood.ood import detector, kl_typical
from leanood.tflite import bundle, runtime

random = np.random.default_rng(0)
frames = random.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
frames[200:260] //= 4
np.save("frames.npy", frames)
for name in ("float32", "int8"):
    model = open(f"latent_{name}.tflite", "rb").read()
    outputs = {key: array[:200] for key, array in runtime.load(model, trusted=True).each(frames).items()}
    starts = np.arange(200) == 0
    calibrated = detector.Detector.calibrate(kl_typical.KlTypical().fit(outputs, None, starts), outputs, starts=starts, window=10)
    calibrated.use_scales([5, 10, 20], [2.5, 2.0, 1.8])
    fields = {**calibrated.config(), "kind": "latent", "outputs": ["logvar", "mu"], "fps": 20.0, "input": {"size": [32, 32]}}
    bundle.write(f"{name}.tflite", model, fields, calibrated.to_arrays())
PYTHON
for name in float32 int8; do
  "$host" -m leanood.tools.main monitor $name.tflite --source=frames.npy --jsonl=here_$name.jsonl --view=none --runtime=litert >/dev/null
done

for suite in "$@"; do
  tree="$cache/$suite"
  if [ ! -x "$tree/usr/bin/python3" ]; then
    echo "fetching Debian $suite's Python for arm64 …"
    rm -rf "$tree" "$tree.partial"
    mmdebstrap --quiet --arch=arm64 --variant=extract --include=python3,python3-pip,ca-certificates,libstdc++6 "$suite" \
      "$tree.partial" http://deb.debian.org/debian
    [ -e "$tree.partial/lib" ] || ln -s usr/lib "$tree.partial/lib"
    mv "$tree.partial" "$tree"
  fi
  export QEMU_LD_PREFIX="$tree" PYTHONDONTWRITEBYTECODE=
  arm() { qemu-aarch64-static "$tree/usr/bin/python3" "$@"; }
  echo "pip install leanood on $(arm -c 'import platform; print("Python", platform.python_version(), platform.machine())') …"
  site="$work/$suite"
  PIP_BREAK_SYSTEM_PACKAGES=1 arm -m pip install --quiet --disable-pip-version-check --no-compile --cache-dir "$cache/pip" \
    --target "$site" leanood-*.whl 'ai-edge-litert<2.2'
  runtimes=litert
  [ ! -d "$site/tflite_runtime" ] || runtimes="litert tflite-runtime"
  for runtime in $runtimes; do for cpu in cortex-a57 cortex-a76; do for name in float32 int8; do
    QEMU_CPU=$cpu PYTHONPATH="$site" arm -m leanood.tools.main monitor $name.tflite --source=frames.npy --jsonl=there_$name.jsonl \
      --view=none --runtime=$runtime >/dev/null
    "$host" - $name "$suite, $runtime, $cpu" <<'PYTHON'
import json
import sys

here, there = ([json.loads(line) for line in open(f"{where}_{sys.argv[1]}.jsonl")] for where in ("here", "there"))
assert len(here) == len(there) == 300, (len(here), len(there))
assert [line["alarm"] for line in here] == [line["alarm"] for line in there], "the alarms differ"
assert any(line["alarm"] for line in here)
apart = max(abs(a["score"] - b["score"]) for a, b in zip(here, there))
print(f"{sys.argv[2]}, {sys.argv[1]}: 300 frames, {sum(line['alarm'] for line in here)} alarms on both; scores differ by at most {apart:.1g}")
assert apart < 0.05, apart  # where a rounding moves a p-value by steps of its table, 1/201
PYTHON
    rm there_$name.jsonl
  done; done; done
done
echo "arm64 works"
