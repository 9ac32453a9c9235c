"""The whole journey in small, on made-up lane scenes: train, study, report, and a monitor that drives into the rain.

Each step is a verb that you can run yourself; the commands are told as they run. It takes a few minutes on two cores,
and what was finished is not done again. The folder then holds the run, the study with its report (study/report.html)
and its recommended detector, and the drive: frames, record and score over time.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command
from leanood.workflow import demo

flags.DEFINE_string("out", "demo", "the folder for everything that the demo makes")
flags.DEFINE_integer("frames", 6000, "frames of lane scenes, of which half train", lower_bound=4000)
flags.DEFINE_integer("trials", 4, "compressions that are tried", lower_bound=1)
flags.DEFINE_integer("seed", 0, "of the study", lower_bound=0)
command.define_json()


def main(argv: Sequence[str]) -> None:
    command.only_flags(argv)
    command.show(demo.demo(**command.arguments()))


def run() -> None:
    command.run(main, example="leanood demo --out=demo")


if __name__ == "__main__":
    run()
