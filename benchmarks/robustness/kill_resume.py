"""kill -9 at five random moments of a training, each time resumed: it must end like one that nobody disturbed.

    python benchmarks/robustness/kill_resume.py

Runs `leanood train` on procedural lane scenes twice: once whole, once killed at five moments drawn between its first
output and the whole run's duration. It exits with 1 if a kill loses more than the epoch in progress, or if the final
losses or weights differ by more than the tolerance. With --deterministic TensorFlow's operations repeat bitwise, and
the tolerance is 0.
"""
import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import argparse  # noqa: E402
import glob  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from leanood.tflite.timing import results  # noqa: E402

LOSS_TOLERANCE = 1e-4  # relative
WEIGHT_TOLERANCE = 1e-3  # root-mean-square difference over root-mean-square weight


def command(out, epochs, deterministic):
    return [sys.executable, "-m", "leanood.tools.main", "train", "--model=bvae", "--data=lanes:frames=1000",
            "--size=32x32", "--widths=8,16", "--latents=8", f"--epochs={epochs}", "--patience=0", f"--out={out}",
            *(["--deterministic"] if deterministic else [])]


def train(arguments, kill_after=None):
    """Runs the command; kills it so many seconds after its first epoch. True if it was killed before its end."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    timer = None
    for line in process.stderr:
        print("   ", line.rstrip())
        if kill_after is not None and timer is None and line.startswith("epoch "):
            timer = threading.Timer(kill_after, process.send_signal, [signal.SIGKILL])
            timer.start()
    status = process.wait()
    if timer:
        timer.cancel()
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"the training ended with status {status}")
    return status != 0


def history(folder):
    path = os.path.join(folder, "history.csv")
    return np.genfromtxt(path, delimiter=",", skip_header=1, ndmin=2) if os.path.exists(path) else np.empty((0, 7))


def saved_epoch(folder):
    """The last epoch whose checkpoint is complete."""
    paths = glob.glob(os.path.join(folder, "checkpoints", "epoch-*.index"))
    return max((int(path.rsplit("-", 1)[1].split(".")[0]) for path in paths), default=0)


def weights(folder):
    arrays = {}
    for name in ("encoder", "decoder"):
        with h5py.File(os.path.join(folder, f"{name}.h5")) as file:
            file["model_weights"].visititems(lambda path, item, name=name: arrays.update(
                {f"{name}/{path}": item[()]}) if isinstance(item, h5py.Dataset) else None)
    return arrays


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--kills", type=int, default=5)
    options.add_argument("--epochs", type=int, default=12)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--deterministic", action="store_true")
    chosen = options.parse_args()
    moments = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = os.path.join(folder, "whole"), os.path.join(folder, "killed")
        print("undisturbed:")
        start = time.monotonic()
        train(command(whole, chosen.epochs, chosen.deterministic))
        seconds = time.monotonic() - start
        done = kills = 0
        while kills < chosen.kills:
            # Spread over what is left, so that every kill finds something to kill.
            moment = moments.uniform(0, 0.5 * seconds / chosen.kills)
            print(f"kill {kills + 1}, {moment:.2f} s after an epoch:")
            if not train(command(killed, chosen.epochs, chosen.deterministic), moment):
                break
            kills += 1
            if saved_epoch(killed) < max(done, len(history(killed))):
                raise SystemExit("a finished epoch was lost")
            done = saved_epoch(killed)
        print("to the end:")
        train(command(killed, chosen.epochs, chosen.deterministic))
        losses = np.abs(history(killed) / history(whole) - 1).max()
        mine, theirs = weights(killed), weights(whole)
        differences = {name: np.sqrt(np.mean((mine[name] - theirs[name]) ** 2))
                       / max(np.sqrt(np.mean(theirs[name] ** 2)), 1e-6) for name in theirs}
    worst = max(differences, key=differences.get)
    loss_tolerance, weight_tolerance = (0.0, 0.0) if chosen.deterministic else (LOSS_TOLERANCE, WEIGHT_TOLERANCE)
    print(f"{kills} kills; losses differ by at most {losses:.2g} (allowed {loss_tolerance:g}), weights by "
          f"{differences[worst]:.2g} in {worst} (allowed {weight_tolerance:g})")
    good = kills == chosen.kills and losses <= loss_tolerance and differences[worst] <= weight_tolerance
    return results.write(__file__, [results.Figure(
        f"{kills} × `kill -9` at random moments of a {chosen.epochs}-epoch training",
        f"no finished epoch lost; losses differ by at most {losses:.2g}, weights by {differences[worst]:.2g}",
        f"≤ {loss_tolerance:g} and {weight_tolerance:g}", bool(good))])


if __name__ == "__main__":
    raise SystemExit(main())
