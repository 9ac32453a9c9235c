"""The search's state in a real PostgreSQL server: killed, gone on, shared by two processes."""
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap

import pytest

from leanood.compression import search, space

pytest.importorskip("optuna")
pytest.importorskip("psycopg")
OBJECTIVES = (search.Objective("auroc", True, 0.5), search.Objective("latency_ms", False, 10.0))
WORK = """
    import os, sys
    from leanood.compression import search, space
    objectives = (search.Objective("auroc", True, 0.5), search.Objective("latency_ms", False, 10.0))
    settings = search.Settings(trials=8, rungs=(1,), storage=sys.argv[1], seed=int(sys.argv[2]))

    def evaluate(recipe):
        if os.environ.get("DIE_AFTER") == str(len(search.candidates(objectives, settings))):
            os.kill(os.getpid(), 9)
        return search.Evaluation({"auroc": 0.9 - len(recipe) / 1000, "latency_ms": 5.0})

    print(len(search.search(space.Space(), evaluate, objectives, settings)))
"""


@pytest.fixture(scope="module")
def server():
    """The URL of a server of this test's own; as root it is started by the user postgres of Debian's package."""
    programs = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    initdb = programs[-1] if programs else shutil.which("initdb")
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    bin_folder = os.path.dirname(initdb)
    folder = tempfile.mkdtemp(prefix="leanood-postgresql-")  # pytest's own folders are closed to other users
    prefix = []
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]

    def call(*command):
        done = subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=120, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = os.path.join(folder, "data")
    call(initdb, "-D", data, "-U", "leanood", "-A", "trust", "--no-sync")
    call(f"{bin_folder}/pg_ctl", "-D", data, "-w", "-l", os.path.join(folder, "log"), "-o",
         f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off", "start")
    try:
        yield f"postgresql://leanood@127.0.0.1:{port}/postgres"
    finally:
        call(f"{bin_folder}/pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def _worker(url, seed, **environment):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(WORK), url, str(seed)], text=True,
                            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_killed_search_goes_on_and_two_share_one(server):
    killed = _worker(server, 0, DIE_AFTER="3")
    _, errors = killed.communicate(timeout=120)
    assert killed.returncode == -9, errors
    settings = search.Settings(trials=8, rungs=(1,), storage=server)
    assert len(search.candidates(OBJECTIVES, settings)) == 3
    workers = [_worker(server, seed) for seed in (1, 2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    rows = search.candidates(OBJECTIVES, settings)
    assert 8 <= len(rows) <= 9  # the last two may have ended together
    assert all(row.figures is not None for row in rows)
    assert space.EPOCHS not in rows[0].recipe


def test_a_server_that_is_not_there_is_named():
    settings = search.Settings(storage="postgresql://leanood@127.0.0.1:1/none")
    with pytest.raises(ValueError, match=r"storage postgresql://.* cannot be opened .*; give sqlite:///FILE or post"):
        search.candidates(OBJECTIVES, settings)
