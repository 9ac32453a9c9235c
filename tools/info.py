"""Says what a file holds: a detector file's calibration, thresholds, metrics, provenance and hashes, or a plain
.tflite's graph; which operators it uses, which runtimes know them, and whether this machine can run it.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command
from leanood.workflow import info

flags.DEFINE_boolean("try_here", True, "run it here once, in child processes: each installed runtime, and the GPU")
command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError(f"{len(argv) - 1} files were given; leanood info takes one")
    command.show(info.info(argv[1], **command.arguments()))


def run() -> None:
    command.run(main, example="leanood info detector.tflite")


if __name__ == "__main__":
    run()
