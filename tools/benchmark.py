"""Times any TFLite file, plain or a detector file, in a child process: start, latency, memory, size, energy, operators.

Two files, or one file in two runtimes, accelerators or thread numbers (--runtime=litert,tflite-runtime), are timed in
two processes that take turns, and compared as a ratio with its 95% interval.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command
from leanood.workflow import benchmark

flags.DEFINE_list("accelerator", ["cpu"], "cpu or gpu; one, or two to compare")
flags.DEFINE_list("runtime", ["auto"], "auto, litert, tflite-runtime or tf.lite; one, or two to compare")
command.define_numbers("num_threads", [1], "CPU threads; one number, or two to compare")
flags.DEFINE_string("delegate", None, "a delegate library, e.g. libtensorflowlite_gpu_delegate.so")
flags.DEFINE_boolean("allow_cpu", False, "let the CPU take what the accelerator cannot")
flags.DEFINE_integer("runs", 100, "timed invocations", lower_bound=1)
flags.DEFINE_integer("warmup", 10, "invocations before them", lower_bound=0)
flags.DEFINE_boolean("profile", False, "time each operator too (on the CPU)")
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.show(benchmark.benchmark(*argv[1:], **command.arguments()))


def run() -> None:
    command.run(main, example="leanood benchmark detector.tflite --runs=200")


if __name__ == "__main__":
    run()
