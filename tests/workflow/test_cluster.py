"""Workers side by side on a local Ray: all of it done, a killed worker's too; failures told in a line."""
import os
import signal

import pytest

from leanood.workflow import cluster

pytest.importorskip("ray")
pytestmark = pytest.mark.xdist_group("ray")  # one local cluster at a time


def test_a_killed_worker_is_started_again_and_nothing_is_lost(tmp_path):
    def work(number):
        begun = tmp_path / f"begun{number}"
        if number == 0 and not begun.exists():
            begun.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / f"done{number}").touch()

    cluster.run(work, 2)
    assert {path.name for path in tmp_path.glob("done*")} == {"done0", "done1"}
    assert (tmp_path / "begun0").exists()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_each_worker_has_a_core_of_its_own(tmp_path):
    cluster.run(lambda number: (tmp_path / f"{number}").write_text(str(os.sched_getaffinity(0))), 2)
    cores = [(tmp_path / f"{number}").read_text() for number in (0, 1)]
    assert cores[0] != cores[1]
    assert all("," not in core for core in cores)


def test_what_a_worker_raises_comes_back_in_a_line():
    def work(number):
        raise ValueError("no such recipe")

    with pytest.raises(RuntimeError, match="no such recipe"):
        cluster.run(work, 1)


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"the Ray cluster 'auto' can't be reached .*; start one with: ray start"):
        cluster.run(lambda number: None, 1, "auto")
