"""Converts a trained network to a TFLite file: a run's encoder, or any saved Functional Keras model.

Outputs keep their names. Beside FILE.tflite goes FILE.json, which says what it was made from. The images that set
int8's ranges come from the training split of the run's own data, or of --data. A classifier becomes ready for scores by
naming its layers (--outputs=features=avg_pool,logits=predictions; others are averaged over the image), and a score can
be folded into its file.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import convert

flags.DEFINE_string("model", None, "a run's folder, a Keras model (.h5, .keras; Keras 3's too) or a SavedModel's "
                    "folder", required=True)
flags.DEFINE_boolean("unsafe", False, "let code within the model's file run (Lambda layers); of those you trust")
flags.DEFINE_string("out", None, "the file; default: <part>_<quantize>.tflite in the run's folder")
flags.DEFINE_string("part", None, "which of a run's models; default: its encoder or classifier")
flags.DEFINE_enum("quantize", "float32", ["float32", "float16", "dynamic", "int8", "int16"],
                  "what becomes smaller (int16: its activations only, weights are int8)")
flags.DEFINE_enum("target", "generic", ["generic", "jetson-nano", "gpu"],
                  "a file that could not be loaded there is refused")
flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes"],
                  "what the model was trained on: x/255, x/127.5-1 or x; default: the run's, or unit")
command.define_pairs("outputs", "layers to put out, e.g. features=avg_pool,logits=predictions")
flags.DEFINE_boolean("early", None, "add the output `early`, a fixed first layer's statistics, which the "
                     "default detector reads; default: to a run's encoder")
flags.DEFINE_string("fold_score", None, "add the output `ood_score`: a score such as energy or vim; its "
                    "statistics are fitted on the new file's own outputs for training images")
command.define_size("size", "height x width, where the model leaves them open")
flags.DEFINE_boolean("float_outputs", True, "int8: compute the output layers in float, for resolution")
data_flags.define("the run's own; for int8 and fold_score")
flags.DEFINE_integer("representative", 200, "int8: so many training images set the ranges",
                     lower_bound=1)
flags.DEFINE_integer("fold_images", 5000, "fold_score: so many training images give the statistics",
                     lower_bound=1)
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.only_flags(argv)
    command.show(convert.convert(**command.arguments()))


def run() -> None:
    command.run(main, example="leanood convert --model=runs/lanes --quantize=int8")


if __name__ == "__main__":
    run()
