"""Opens a .tflite file in a child process first: a corrupt flatbuffer crashes the child, not us.

The interpreters read flatbuffers unverified. A detector file's hash vouches for its graph; a plain .tflite has none.
"""
from __future__ import annotations

import functools
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any, Union

from leanood.files import child as child_process
from leanood.files import regular
from leanood.tflite.timing import memory

TIMEOUT_S = 120.0  # a 100 MB model loads and runs once in seconds, even on a Nano
MEMORY_BYTES = 4 << 30  # address space for the model, beside 16 times the file's size


def check(source: Union[str, bytes], runtime: str, timeout_s: float = TIMEOUT_S) -> None:
    """Returns if a child process could load the model and run it once on zeros (a file seen before is not reopened).

    Args:
      source: path or bytes of the file.
      runtime: one of `interpreters.KINDS`.
      timeout_s: seconds after which the child is killed.

    Raises:
      ValueError: naming what happened to the child.
    """
    if isinstance(source, bytes):
        with tempfile.NamedTemporaryFile(suffix=".tflite") as copy:
            copy.write(source)
            copy.flush()
            _open_in_child(copy.name, "the model", runtime, timeout_s)
        return
    digest = hashlib.sha256()
    with regular.open(source) as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    _open_once(source, digest.hexdigest(), runtime, timeout_s)


@functools.lru_cache(maxsize=256)
def _open_once(path: str, digest: str, runtime: str, timeout_s: float) -> None:
    _open_in_child(path, path, runtime, timeout_s)


def placement(path: str, runtime: str, accelerator: str = "cpu", timeout_s: float = TIMEOUT_S) -> str:
    """What a runtime here makes of a file, tried in a child process: how much of the graph runs where.

    Raises:
      ValueError: saying why it cannot run it.
    """
    return _open_in_child(path, path, runtime, timeout_s, accelerator)


def _open_in_child(path: str, name: str, runtime: str, timeout_s: float, accelerator: str = "cpu") -> str:
    try:
        child = subprocess.run(child_process.command("leanood.tflite.probe", path, runtime, accelerator),
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False,
                               env=child_process.environment())
    except subprocess.TimeoutExpired:
        raise ValueError(f"{name} is corrupt or far too large: not loaded and run within {timeout_s:g} s") from None
    said = child.stdout.decode(errors="replace").strip()
    if child.returncode == 0:
        return said.rpartition("\n")[2]
    if child.returncode == 2 and said:
        raise ValueError(said.rpartition("\n")[2].replace(path, name))
    raise ValueError(f"{name} is corrupt: loading it {end(child.returncode)}")


def end(status: int) -> str:
    """How a child's exit status reads: "ended in SIGSEGV"."""
    if status < 0:
        try:
            return f"ended in {signal.Signals(-status).name}"
        except ValueError:
            return f"ended in signal {-status}"
    return f"ended with status {status}"


def _limit_memory(path: str) -> None:
    """A corrupt shape may ask for terabytes: let it fail here before it drives this machine out of memory."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    # On many cores NumPy alone reserves gigabytes for its threads.
    limit = (memory.taken_bytes("VmSize") or 0) + MEMORY_BYTES + 16 * os.path.getsize(path)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or hard > limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _main(path: str, runtime: str, accelerator: str) -> int:
    import numpy as np

    from leanood.tflite import interpreters, tensors

    try:
        if accelerator == "gpu":
            from leanood.tflite import delegates

            backend: Any = delegates.GpuBackend(path, runtime, allow_cpu=True)
        else:
            _limit_memory(path)  # graphics drivers reserve more than they use
            backend = interpreters.Backend(path, interpreters.choose(runtime), 1)
        for tensor in backend.inputs.values():
            if np.dtype(tensor.dtype).kind in "fiub":
                backend.write(tensors.Input(tensor), np.zeros(tensor.shape, tensor.dtype))
        backend.invoke()
        print(backend.placement)
    except (ValueError, OSError, MemoryError) as error:
        print(interpreters.single_line(error))
        return 2
    return 0


if __name__ == "__main__":
    status = _main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # a corrupt model may crash the destructors as well; it ran, and that is the answer
