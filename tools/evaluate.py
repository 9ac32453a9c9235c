"""Evaluates a detector file on the test split: AUROC with its interval, rates, delay, false alarms, trivial baselines.

Images: the test images against every OOD partition and against corruptions of themselves. Sequences: stretches of test
driving that go out of distribution at a known frame. The three baselines (Mahalanobis distance of six colour numbers,
mean brightness, sharpness) see the same frames; a row says which did best and whether the detector is non-inferior to
it at a margin of 0.01. Benign changes (codecs, chroma, a grey level of noise, a pixel's shift) have rows too: the share
of in-distribution frames that alarm after them, which should be what it is without them; so have recordings that are
really OOD (the data set's own, and --ood). Hits are told at the false alarms that were raised, beside those of
thresholds that know the test (the oracle's). With --out, evaluation.json, roc.png, gallery.png (false alarms, misses,
the oddest frames) and, for sequences, score_over_time.png are written there.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.data import benign, corruptions, sequences
from leanood.tools import command, data_flags
from leanood.workflow import evaluate

flags.DEFINE_string("out", None, "a folder for evaluation.json and the plots")
command.define_numbers("severities", evaluate.SEVERITIES, "of the corruptions, 1 to 5")
flags.DEFINE_list("corruptions", None, "which; none: --corruptions=; default: of frames "
                  + ", ".join(corruptions.NAMES) + "; of motion " + ", ".join(sequences.OF_MOTION))
flags.DEFINE_list("benign", None, "benign changes to be silent on; none: --benign=; default: all that OpenCV can make "
                  "here of " + ", ".join(benign.NAMES))
flags.DEFINE_float("stretch_s", 10.0, "length of a test sequence in seconds", lower_bound=0.1)
flags.DEFINE_integer("stretches", 12, "test sequences for each corruption", lower_bound=1)
flags.DEFINE_enum("accelerator", "cpu", ["cpu", "gpu"], "what runs the network")
flags.DEFINE_enum("runtime", "auto", ["auto", "litert", "tflite-runtime", "tf.lite"], "which runtime")
flags.DEFINE_integer("num_threads", None, "interpreters side by side, a thread each; default: one a core",
                     lower_bound=1)
flags.DEFINE_multi_string("ood", [], "recordings or images that are out of distribution: a folder, sequences:DIR, a "
                          "video; with a times_csv of its own, whose column ood may say which frames are, "
                          "PATH,TABLE.csv; may be given more than once")
flags.DEFINE_boolean("record", False, "keep the result in the detector file, where `leanood info` shows it")
data_flags.define("what the detector was calibrated on")
command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError("name one detector file, e.g. leanood evaluate detector.tflite --out=results")
    command.show(evaluate.evaluate(argv[1], **command.arguments()))


def run() -> None:
    command.run(main, example="leanood evaluate detector.tflite --out=results")


if __name__ == "__main__":
    run()
