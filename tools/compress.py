"""Compresses a trained network by a recipe: weights, a TFLite file, a detector recalibrated on that file, a report.

A recipe is steps with "+" between them, settings in parentheses: "shrink(0.5)+distill(epochs=20)+qat". Steps: shrink,
factorize, student, distill, then prune, then cluster, then one of qat, pqat (after prune), cqat (after cluster), pcqat
(after both), int8, int16, dynamic, float16, float32, then huffman. Each trains towards the original on images without
labels. Everything is checked before the training starts; killed or interrupted, the same command goes on.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import compress

flags.DEFINE_string("run", None, "a run's folder")
flags.DEFINE_string("model", None, "any saved Functional Keras model (.h5, .keras; Keras 3's too) instead of a run")
flags.DEFINE_string("recipe", None, "what to do, e.g. shrink(0.5)+distill(epochs=20)+qat", required=True)
flags.DEFINE_string("out", None, "the folder of the results; default: the run's and the recipe's name")
flags.DEFINE_string("part", None, "which of a run's models; default: its encoder or classifier")
flags.DEFINE_boolean("unsafe", False, "let code within the model's file run (Lambda layers); of those you trust")
command.define_pairs("outputs", "layers to put out, e.g. features=features,logits=logits")
command.define_size("size", "height x width, where the model leaves them open")
flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes"],
                  "what the model was trained on: x/255, x/127.5-1 or x; default: the run's, or unit")
flags.DEFINE_integer("epochs", 5, "of fine-tuning after each step that doesn't say", lower_bound=0)
flags.DEFINE_integer("batch_size", 32, "images a training step", lower_bound=1)
flags.DEFINE_integer("images", 4000, "train on so many images at most, evenly spread", lower_bound=1)
flags.DEFINE_integer("seed", 0, "of order and views", lower_bound=0)
flags.DEFINE_boolean("freeze_batch_norm", None, "let batch normalisations keep what they are, since they come from "
                     "other images than these; default: those of a backbone")
flags.DEFINE_enum("target", "generic", ["generic", "jetson-nano", "gpu"],
                  "a file that could not be loaded there is refused")
flags.DEFINE_string("detector", None, "what to calibrate the file into, as for leanood calibrate; default: "
                    "typicality for an encoder, for a classifier the score that calibrate chooses; none: nothing")
flags.DEFINE_boolean("layer_errors", False, "with int8: report how far each layer's activations stray "
                     "from float, worst first")
flags.DEFINE_boolean("sizes", True, "convert the original too, for its row in the table of sizes")
flags.DEFINE_boolean("early", None, "add the output early, which the score early reads; default: of an encoder")
flags.DEFINE_string("keep", None, "a folder in which what the original says is kept for other recipes")
data_flags.define()
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.only_flags(argv)
    command.show(compress.compress(**command.arguments()))


def run() -> None:
    command.run(main, example="leanood compress --run=runs/lanes --recipe='shrink(0.5)+distill(epochs=20)+qat' "
                              "--out=runs/lanes-small")


if __name__ == "__main__":
    run()
