"""Searches compressions of a run's network and recommends the fastest that still detects, with its proof.

Recipes (students, widths by the layers' sensitivities, pruning, factorization, formats) are drawn by Optuna; each is
trained, converted, calibrated and measured as a file beside the baseline. The finalists are trained longer and judged
on the untouched test split: recommended is the fastest whose AUROC is non-inferior to the baseline's. The folder then
holds detector.tflite (with its certificate), study.json, pareto.png, candidates/*.tflite and the search's storage.
Killed or interrupted, the same command goes on. `leanood report FOLDER` makes a page of it.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import study

flags.DEFINE_string("run", None, "the run's folder, as leanood train makes it")
flags.DEFINE_string("model", None, "any saved Functional Keras model (.h5, .keras; Keras 3's too) instead of a run")
command.define_pairs("outputs", "of a model: layers to put out, e.g. features=features,logits=logits")
command.define_size("size", "of a model: height x width, where it leaves them open")
flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes"],
                  "of a model: what it was trained on: x/255, x/127.5-1 or x; default: unit")
flags.DEFINE_string("out", None, "the study's folder, a study in it goes on; default: the run's name and -study")
flags.DEFINE_multi_string("ood", [], "real OOD recordings or images for the verdict; may be given more than once")
flags.DEFINE_integer("trials", 30, "candidates of the first rung", lower_bound=1)
command.define_numbers("rungs", [2, 10], "epochs of each fine-tuning, rung by rung; a third of the candidates goes on")
flags.DEFINE_integer("refine_epochs", 20, "epochs of the finalists; 0: as the last rung left them", lower_bound=0)
flags.DEFINE_enum("sampler", "tpe", ["tpe", "random"], "how recipes are drawn")
flags.DEFINE_float("margin", 0.01, "loss of AUROC that is tolerated")
flags.DEFINE_float("confidence", 0.95, "of the verdict, one-sided, over all finalists together")
flags.DEFINE_integer("finalists", 3, "judged on the test split at most", lower_bound=1)
flags.DEFINE_float("deadline_ms", None, "from frame to verdict; slower candidates are not recommended")
flags.DEFINE_float("max_kb", None, "of the detector file; larger ones are not recommended")
flags.DEFINE_string("detector", None, "as of leanood calibrate")
flags.DEFINE_integer("window", None, "as of leanood calibrate", lower_bound=0)
flags.DEFINE_enum("sensitivity", "normal", ["low", "normal", "high"], "as of leanood calibrate")
flags.DEFINE_list("corruptions", None, "what candidates are judged on; default: " + ",".join(study.CORRUPTIONS)
                  + "; of networks of motion its changes")
command.define_numbers("severities", [3], "of the corruptions, 1 to 5")
flags.DEFINE_list("benign", list(study.BENIGN), "benign changes that candidates should be silent on")
flags.DEFINE_float("stretch_s", 10.0, "length of a judged sequence in seconds", lower_bound=0.1)
flags.DEFINE_integer("stretches", 12, "judged sequences for each corruption", lower_bound=1)
flags.DEFINE_integer("images", 4000, "training images of each fine-tuning", lower_bound=1)
flags.DEFINE_integer("judged_images", 1000, "validation and test images, where frames are no sequences", lower_bound=2)
flags.DEFINE_enum("accelerator", "cpu", ["cpu", "gpu"], "what is timed")
flags.DEFINE_enum("runtime", "auto", ["auto", "litert", "tflite-runtime", "tf.lite"], "which runtime is timed")
flags.DEFINE_integer("seed", 0, "of the search and the trainings", lower_bound=0)
flags.DEFINE_string("storage", None, "the search's storage, e.g. postgresql://USER@HOST/NAME; default: an SQLite file "
                    "in the folder")
flags.DEFINE_string("ray_address", None, "a Ray cluster that shares the folder: auto or ray://HOST:PORT")
flags.DEFINE_integer("workers", 1, "processes that try candidates side by side", lower_bound=1)
flags.DEFINE_string("import_measurements", None, "what leanood benchmark --json said of the candidates on the board; "
                    "replaces this machine's times")
data_flags.define("what the run was trained on")
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.only_flags(argv)
    command.show(study.study(**command.arguments()))


def run() -> None:
    command.run(main, example="leanood study --run=runs/lanes --trials=30 --margin=0.01 --deadline_ms=1")


if __name__ == "__main__":
    run()
