"""Our training step against a bare Keras `fit` of the same model, and bfloat16 against float32.

    python benchmarks/limits/training_step.py

Exits with 1 if our step takes more than 1.1 times the bare one's time. The bare model is what a Keras tutorial makes:
encoder and decoder as one Functional model with the loss added to it, without warm-up, seeds by step or running means
of the loss's parts. Both are fed from memory, take turns, and are judged by processor time.
"""
import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse  # noqa: E402
import functools  # noqa: E402
import statistics  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402

from leanood.models import bvae, precision  # noqa: E402
from leanood.tflite.timing import results, turns  # noqa: E402

LIMIT = 1.1
SHAPES = {  # size, widths, dense, pool, batch, steps an epoch
    "default": ((64, 64), (16, 32, 32, 32), (), "stride", 32, 40),
    "larger": ((64, 64), (32, 64, 64, 64), (256,), "max", 32, 10),
    "paper": ((224, 224), (128, 64, 32, 16), (2048, 1000, 250), "max", 16, 2),
}


def _parts(shape):
    size, widths, dense, pool, *_ = shape
    return bvae.encoder(size, widths, 30, dense, pool=pool), bvae.decoder(size, widths, 30, dense)


def _bare(shape):
    encoder, decoder = _parts(shape)
    frame = keras.Input((*shape[0], 3))
    latent = encoder(frame)
    mu, logvar = latent["mu"], latent["logvar"]
    z = mu + tf.exp(0.5 * logvar) * tf.random.normal(tf.shape(mu))
    logits = keras.Model(decoder.input, decoder.get_layer("image_logits").output)(z)
    model = keras.Model(frame, logits)
    error = tf.nn.sigmoid_cross_entropy_with_logits(labels=frame, logits=logits)
    kl = 0.5 * tf.reduce_sum(tf.square(mu) + tf.exp(logvar) - logvar - 1.0, axis=-1)
    model.add_loss(tf.reduce_mean(tf.reduce_sum(error, axis=(1, 2, 3)) + 1.4 * kl))
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def _ours(shape, kind):
    with precision.building(kind):
        model = bvae.BetaVae(*_parts(shape), warm_up=1000)
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def measure(name, rounds, with_bf16):
    """Processor seconds a step: kind -> [rounds], measured in turns."""
    shape = SHAPES[name]
    size, *_, batch, steps = shape
    images = np.random.default_rng(0).random((batch * 4, *size, 3), dtype=np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch).repeat().take(steps).prefetch(2)
    models = {"bare": _bare(shape), "float32": _ours(shape, "float32")}
    if with_bf16:
        models["bf16"] = _ours(shape, "bf16")
    jobs = {kind: functools.partial(model.fit, data, verbose=0) for kind, model in models.items()}
    taken = turns.seconds(jobs, rounds, warmup=1)  # the first turn builds the graph
    return {kind: (seconds / steps).tolist() for kind, seconds in taken.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--shapes", default="default,larger", help=f"of {', '.join(SHAPES)}")
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--bf16", action="store_true", help="time bfloat16 too")
    chosen = options.parse_args()
    figures = []
    for name in chosen.shapes.split(","):
        times = measure(name, chosen.rounds, chosen.bf16)
        ratio = statistics.median(ours / bare for ours, bare in zip(times["float32"], times["bare"]))
        figures.append(results.Figure(f"a training step against a bare Keras `fit`, {name}", f"{ratio:.2f}×",
                                      f"≤ {LIMIT}×", ratio <= LIMIT))
        line = f"{name}: bare {1e3 * statistics.median(times['bare']):.1f} ms a step, ours "
        line += f"{1e3 * statistics.median(times['float32']):.1f} ms, ratio {ratio:.3f}"
        if chosen.bf16:
            half = statistics.median(b / f for b, f in zip(times["bf16"], times["float32"]))
            line += f"; bf16 / float32 {half:.2f}"
            figures.append(results.Figure(f"a training step in bfloat16 against float32, {name}", f"{half:.2f}×"))
        print(line, flush=True)
    return results.write(__file__, figures)


if __name__ == "__main__":
    raise SystemExit(main())
