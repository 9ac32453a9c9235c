"""Writes a report of an evaluation or a study: one HTML page that needs nothing else, or Markdown for a model card.

The folder is what `leanood evaluate DETECTOR --out=FOLDER` filled (table, intervals, pictures), or a study's: its front
of candidates, sensitivities, verdict and certificate, and the recommended detector's pictures.
"""
from __future__ import annotations

from typing import Sequence

from absl import flags

from leanood.tools import command
from leanood.workflow import report

flags.DEFINE_string("out", None, "the file to write; default: report.html (report.md) in the folder")
flags.DEFINE_enum("format", "html", list(report.FORMATS), "html: a page; markdown: a section of a model card")
command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError("name one folder that `leanood evaluate` or `leanood study` wrote, e.g. leanood report "
                         "results")
    command.show(report.report(argv[1], **command.arguments()))


def run() -> None:
    command.run(main, example="leanood report results")


if __name__ == "__main__":
    run()
