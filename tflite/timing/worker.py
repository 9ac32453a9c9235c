"""A benchmark's child process, seen from the parent: one setup, timed on request (`measure.py` is the child)."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import tempfile
from typing import Any, Dict, Iterator, Optional

from leanood.files import child as child_process
from leanood.tflite import bundle, probe

_TIMEOUT_S = 600.0


@dataclasses.dataclass(frozen=True)
class Setup:
    """What to measure: a file and how to run it (as of `runtime.load`)."""

    model: str
    accelerator: str = "cpu"
    runtime: str = "auto"
    num_threads: int = 1
    delegate: Optional[str] = None
    allow_cpu: bool = False

    def label(self) -> str:
        """How a table calls it."""
        rest = [word for word, default in ((self.runtime, "auto"), (self.accelerator, "cpu")) if word != default]
        return " ".join([os.path.basename(self.model), *rest])


class Worker:
    """A running child; `described` is what it told of the loaded model."""

    def __init__(self, setup: Setup, detector: bool, log: Any) -> None:
        options = dataclasses.asdict(setup)
        options["detector"] = detector
        self._name, self._log = setup.model, log
        self._process = subprocess.Popen(
            child_process.command("leanood.tflite.timing.measure", json.dumps(options)), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=log, env=child_process.environment())
        self.detector = detector
        self.described = self._reply()

    def run(self, count: int) -> Dict[str, Any]:
        """{"seconds": one float an invocation, "energy": [joules, seconds, source] or None}."""
        return self.ask({"run": count})

    def ask(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """The child's reply to a request."""
        with contextlib.suppress(BrokenPipeError):  # the missing reply tells of its end
            self._process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        return self._reply()

    def _reply(self) -> Dict[str, Any]:
        stream: Any = self._process.stdout
        if not select.select([stream], [], [], _TIMEOUT_S)[0]:
            raise ValueError(f"{self._name}: nothing was heard of the benchmark's process for {_TIMEOUT_S:g} s")
        line = stream.readline()
        if not line:
            raise ValueError(f"{self._name}: running it {probe.end(self._process.wait())}: it is corrupt, or its "
                             "runtime or accelerator crashed")
        reply = json.loads(line)
        if "error" in reply:
            raise ValueError(reply["error"])
        return reply

    def close(self) -> None:
        """Ends the child."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


@contextlib.contextmanager
def start(setup: Setup) -> Iterator[Worker]:
    """A worker that has loaded the setup's file.

    Raises:
      ValueError: if the file is damaged or cannot be run; OSError: if it cannot be read.
    """
    with tempfile.TemporaryFile() as log:
        child = Worker(setup, _is_detector_file(setup.model), log)
        try:
            yield child
        finally:
            child.close()


def _is_detector_file(path: str) -> bool:
    """False for a plain .tflite; a detector file that is damaged is an error, not a plain model."""
    with open(path, "rb"):  # a missing file is the system's error
        pass
    try:
        bundle.read(path)
        return True
    except bundle.DetectorFileError as error:
        if bundle.is_plain(error):
            return False
        raise
