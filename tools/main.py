"""The `leanood` command: hands over to the one verb that was asked for."""
from __future__ import annotations

import importlib
import os
import sys

# tfmot works on Keras 2 only, and Keras is chosen when TensorFlow is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

VERBS = {
    "demo": "train, convert, calibrate and evaluate a detector on made-up lane scenes",
    "train": "train a detector's network",
    "compress": "compress a trained network by a recipe",
    "convert": "convert a trained network to a TFLite file",
    "calibrate": "calibrate a TFLite file into a detector file",
    "evaluate": "measure a detector file: AUROC, delay, false alarms, baselines",
    "benchmark": "time any TFLite file and measure its memory",
    "monitor": "watch a video, a folder, a camera or raw frames",
    "info": "say what a detector file holds and whether it runs here",
    "study": "search compressions, recommend the fastest that still detects",
    "report": "write an evaluation or a study as one HTML page, or as Markdown",
}


def run() -> None:
    """Runs `leanood VERB --flags`."""
    arguments = sys.argv[1:]
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        try:
            print(usage(), flush=True)
        except BrokenPipeError:  # `leanood --help | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if verb == "--version":
        import leanood

        print(f"leanood {leanood.__version__}")
        sys.exit(0)
    if verb not in VERBS:
        print(f"leanood: unknown verb {verb!r}; the verbs are {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"leanood {verb}", *arguments[1:]]
    # Two verbs may define the same flag, so only one is ever imported.
    try:
        module = importlib.import_module(f"leanood.tools.{verb}")
    except ImportError as error:
        missing = " ".join(str(error).split())
        print(f"leanood {verb}: {missing}; install what this verb needs: pip install 'leanood[train]' (on a device "
              "'leanood[video]')", file=sys.stderr)
        sys.exit(2)
    module.run()


def usage() -> str:
    """The list of verbs, a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {verb.ljust(width)}  {what}" for verb, what in VERBS.items()]
    return "\n".join(["usage: leanood VERB [--flags]", "", *lines, "", "`leanood VERB --help` lists a verb's flags."])


if __name__ == "__main__":
    run()
