"""One process at a time."""
import subprocess
import sys

import pytest

from leanood.files import lock

_HOLDER = """
import sys
from leanood.files import lock
with lock.exclusive(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path):
    path = str(tmp_path / "lock")
    child = subprocess.Popen([sys.executable, "-c", _HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(lock.Held, match="another process holds it"), lock.exclusive(path):
        pass
    child.kill()
    child.communicate()
    with lock.exclusive(path):
        pass


def test_a_link_is_refused(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"), lock.exclusive(str(tmp_path / "lock")):
        pass
    assert not (tmp_path / "victim").exists()
