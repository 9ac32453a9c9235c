"""Calibrates a converted network into a detector file: one .tflite that knows what is normal and when to alarm.

Everything is measured on that very file. Train fits the statistics; each frame of train, calibration and validation is
judged by a fit that saw nothing of its group (recording, robot, block), as it is and as benign variants of it, and
thresholds come from that for the stated rate of false alarms. The data set is the network's own unless --data names
another.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import calibrate, sensitivity

flags.DEFINE_string("out", None, "the detector file; default: detector_<name>.tflite beside the network's file")
flags.DEFINE_string(
    "detector", None, "typicality: leanood's (default for encoders); kl-topk: the paper's; kl-typical: all latents, "
    "two-sided; of motion flow (default) or flow-kl, the published one; of a classifier a score or "
    "several joined by + (default: of logits energy, of features mahalanobis, of both the one that tells validation "
    "frames best from changed copies of them): " + ", ".join(calibrate.DETECTORS[len(calibrate.WINDOWS):]))
command.define_pairs("outputs", "of a file that leanood didn't convert: which output, or tensor of its graph, is what, "
                     "e.g. logits=Identity,features=NAME; features alone will do")
flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes", "imagenet"], "of such a file: what it was trained "
                  "on: x/255, x/127.5-1, x, or x/255 less ImageNet's mean by its deviation; default: unit")
flags.DEFINE_enum("fold", "none", ["none", "full"], "full: put the whole detector into the graph, for C++ and browsers")
flags.DEFINE_integer("top_k", 1, "kl-topk: so many latents a partition", lower_bound=1)
flags.DEFINE_enum("rank_by", "variance", ["variance", "mean", "scenes"], "kl-topk: rank latents by the variance of "
                  "their KL; by its mean, for networks trained with --augment on frames whose light hardly varies; or, "
                  "as published, by the variance of its mean step in a scene")
flags.DEFINE_integer("window", None, "frames that the martingale looks back on; 0: frames are single images; default: "
                     "typicality compares several scales, kl-topk has 20, kl-typical 10, unordered images 0",
                     lower_bound=0)
flags.DEFINE_enum("sensitivity", "normal", list(sensitivity.RATES), "low, normal, high: 0.3, 3, 30 false alarms an "
                  "hour; 1, 5, 15% of images flagged")
flags.DEFINE_float("false_alarms_per_hour", None, "sequences: to allow in in-distribution driving; default: as "
                   "--sensitivity says", lower_bound=1e-6)
flags.DEFINE_float("false_positive_rate", None, "images: share of in-distribution images to flag; default: as "
                   "--sensitivity says", lower_bound=1e-6, upper_bound=0.999)
flags.DEFINE_boolean("by_partition", False, "typicality: subsets of the data (bright, medium) have means of their own")
flags.DEFINE_string("group_by", None, "what the promise is to hold for the next of: a regular expression whose match "
                    "in a frame's name is its group (a robot, a day), or FILE.csv:COLUMN; default: recordings, blocks")
flags.DEFINE_integer("benign_variants", 6, "variants of a frame, as other cameras and codecs would have given it, to "
                     "be silent on; fewer where there are many frames; 0: none", lower_bound=0)
flags.DEFINE_integer("seed", 0, "of the p-values' smoothing", lower_bound=0)
flags.DEFINE_integer("num_threads", None, "interpreters side by side, a thread each; default: one a core",
                     lower_bound=1)
flags.DEFINE_boolean("verbose", False, "show all that was seen on the way")
data_flags.define()
command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError("name one .tflite file, e.g. leanood calibrate runs/lanes/encoder_int8.tflite")
    command.show(calibrate.calibrate(argv[1], **command.arguments()))


def run() -> None:
    command.run(main, example="leanood calibrate runs/lanes/encoder_int8.tflite --out=detector.tflite")


if __name__ == "__main__":
    run()
