"""Starts one of our modules in a child process, which imports nothing from the current folder."""
from __future__ import annotations

import os
import sys
from typing import Dict, List

# `python -m` would look for every module in the current folder first, and a file `numpy.py` that lies beside a model
# would be run (`-P` would do from Python 3.11 on). So that folder, the empty name, leaves the path before any import.
_START = ("import sys; sys.path[:] = [p for p in sys.path if p]; del sys.argv[0]; import runpy; "
          "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)")


def command(module: str, *arguments: str) -> List[str]:
    """The command line that runs `module` as a script."""
    return [sys.executable, "-c", _START, module, *arguments]


def environment(**changes: str) -> Dict[str, str]:
    """This process's environment, with leanood importable for a child however we came to it, and with `changes`."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p), **changes)
