"""Trains a detector's network on in-distribution images, into a run's folder.

Only the split "train" trains; "validation" stops the training early. Killed or interrupted, the same command goes on
from the last finished epoch. The folder then holds history.csv, TensorBoard's logs and, of a bvae, encoder.h5,
decoder.h5 and reconstructions.png (of a flow_vae too), of a resnet18 or cnn (whose classes are the data's
sub-folders) classifier.h5, of a backbone, which takes seconds, encoder.h5.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import train

flags.DEFINE_enum("model", "backbone", ["backbone", "bvae", "flow_vae", "resnet18", "cnn"], "what to train; a backbone "
                  "is frozen: only where to cut it is chosen; a flow_vae, of motion, takes recordings")
flags.DEFINE_string("out", None, "the run's folder; an unfinished run in it goes on", required=True)
data_flags.define(required=True)
command.define_size("size", "height x width of the input in pixels; backbone 120x160, or that of smaller images; bvae "
                    "64x64, resnet18 and cnn 32x32; flow_vae: of the frames that flow is computed between, 120x160")
flags.DEFINE_string("backbone", "efficientnet_lite0", "backbone: efficientnet_lite0 (needs no download), mobilenet_v2, "
                    "mobilenet_v3_small, or a Functional Keras model (.h5, .keras)")
flags.DEFINE_string("cut", "", "backbone: the layer whose map's means are the features; default: chosen on validation "
                    "frames and changes of them")
flags.DEFINE_integer("downscale", None, "backbone: it sees means of so many by so many pixels; 1 is the accurate "
                     "choice; default: 3, or as many as leave 32 rows and columns", lower_bound=1)
flags.DEFINE_boolean("local", False, "backbone: put out a map besides: the detector sees small things, and says where "
                     "in the frame")
flags.DEFINE_enum("input_scale", "unit", ["unit", "signed", "bytes"], "backbone from a file: what it was trained on")
flags.DEFINE_enum("stem", "cifar", ["cifar", "imagenet"], "resnet18: imagenet shrinks the image by 4 at once")
flags.DEFINE_float("width", 1.0, "resnet18: multiplies all channels")
command.define_numbers("widths", None, "channels of the convolutions, each of which halves the size; bvae "
                       "16,32,32,32, flow_vae 32,64,128,256, cnn 256,512")
flags.DEFINE_integer("latents", None, "number of latents; bvae 30, flow_vae 12 of each direction",
                     lower_bound=1)
command.define_numbers("dense", [], "units of the fully connected layers before the latents")
flags.DEFINE_enum("activation", None, ["relu", "leaky_relu"], "relu is faster when quantized; bvae relu, cnn "
                  "leaky_relu")
flags.DEFINE_boolean("batch_norm", False, "normalise after each convolution; blinds a bvae to light, a flow_vae to "
                     "speed")
flags.DEFINE_enum("pool", "stride", ["stride", "max"], "halve by strided convolution (4x cheaper) or maxima")
command.define_numbers("decoder_widths", [], "bvae: the decoder's, if other than --widths; a narrow one trains faster")
flags.DEFINE_float("beta", None, "weight of the KL term; bvae 20: for a frame of 64x64, scaled with the pixels: "
                   "beta * h * w / 64^2; flow_vae 0.5", lower_bound=0.0)
flags.DEFINE_enum("reconstruction", "bce", ["bce", "mse"], "loss of the pixels, summed over an image")
flags.DEFINE_float("warm_up", 0.25, "share of the epochs over which beta grows from 0", lower_bound=0.0,
                   upper_bound=1.0)
flags.DEFINE_integer("warm_up_epochs", None, "resnet18: epochs over which the learning rate grows; default 1",
                     lower_bound=0)
flags.DEFINE_integer("cutout", None, "resnet18: side of a square, in pixels at 32x32, that each training image loses; "
                     "default 8", lower_bound=0)
flags.DEFINE_float("label_smoothing", None, "resnet18: share of a label that goes to all classes alike; default 0: it "
                   "flattens the logits that OOD scores read", lower_bound=0.0, upper_bound=0.99)
flags.DEFINE_float("progressive_resizing", None, "resnet18: share of the epochs, the first ones, whose images have "
                   "three quarters of the size; default 0.5", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_list("augment", [], "bvae: what varies in training besides the images, words of light, colour, rain, "
                  "flip, benign; a latent sees only what varied")

flags.DEFINE_integer("epochs", None, "at most so many epochs; bvae 40, flow_vae 20, resnet18 30, cnn 10",
                     lower_bound=1)
flags.DEFINE_integer(
    "patience", 10, "bvae, flow_vae: stop after so many epochs without a better validation loss; 0: never",
    lower_bound=0)
flags.DEFINE_integer("batch_size", None, "images a step, over all devices; bvae 32, flow_vae 16, resnet18 128, "
                     "cnn 64",
                     lower_bound=1)
flags.DEFINE_float("learning_rate", None, "Adam's (bvae, cnn: 0.001), or the peak of SGD's (resnet18: 0.1)")
flags.DEFINE_integer("seed", 0, "seed of weights, order and noise", lower_bound=0)
flags.DEFINE_enum("precision", None, ["float32", "bf16", "auto"], "what to compute in; auto takes bf16 where the "
                  "hardware has it; resnet18 auto, others float32")
flags.DEFINE_boolean("deterministic", False, "bitwise repeatable, and slower")
flags.DEFINE_enum("distribution_strategy", "off", ["off", "mirrored", "multi_worker_mirrored"],
                  "one device, all GPUs here, or the machines that TF_CONFIG names")
flags.DEFINE_enum("flow_method", "dis", ["dis", "farneback"], "flow_vae: the paper's farneback takes longer and "
                  "loses fast motion")
flags.DEFINE_float("flow_reach", 32.0, "flow_vae: pixels a frame that flow is clipped at; the paper's is 64",
                   lower_bound=0.1)
flags.DEFINE_boolean("optimal_prior", False, "flow_vae: measure KL from the Gaussian that fits the posteriors of the "
                     "training set as a whole")
flags.DEFINE_integer("every", 3, "flow_vae: each epoch takes every so many-th stack; neighbours share most flows",
                     lower_bound=1)
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.only_flags(argv)
    command.show(train.train(**command.arguments()))


def run() -> None:
    command.run(main, example="leanood train --data=lanes --out=runs/lanes")


if __name__ == "__main__":
    run()
