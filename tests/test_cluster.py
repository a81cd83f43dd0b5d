"""Trainings on a Ray cluster. What is sent and what comes back is tested without one; a local cluster of two nodes, of
which one is killed, with branches that train nothing, and a demo that trains, are among the thorough ones."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_branches
import pytest
from fake_runs import write_run

from compare import cluster
from compare.runs import record

ROOT = Path(__file__).parent.parent


def packed(*paths: Path) -> bytes:
    file = io.BytesIO()
    cluster.pack(paths, file)
    return file.getvalue()


def test_what_is_packed_depends_on_names_and_contents_alone(tmp_path):
    contents = []
    for place, when in (("a", 0), ("b", 1_000_000_000)):
        folder = tmp_path / place / "data" / "photos"
        (folder / "cats").mkdir(parents=True)
        (folder / "cats" / "1.png").write_bytes(b"miaow")
        os.utime(folder / "cats" / "1.png", (when, when))
        (tmp_path / place / "secret").write_text("not in the folder")
        (folder / "cats" / "2.png").symlink_to("1.png")
        (folder / "cats" / "3.png").symlink_to(tmp_path / place / "secret")
        contents.append(packed(folder))
    assert contents[0] == contents[1]
    cluster.unpack(io.BytesIO(contents[0]), tmp_path / "there")
    found = {
        str(path.relative_to(tmp_path / "there")): path.read_bytes() for path in (tmp_path / "there").rglob("*.png")
    }
    # as in training, no link leads out of the folder
    assert found == {"data/photos/cats/1.png": b"miaow", "data/photos/cats/2.png": b"miaow"}


def test_a_run_that_comes_is_whole_and_takes_the_place_of_what_was_there(tmp_path):
    there, here = write_run(tmp_path / "node" / "runs" / "a"), tmp_path / "out" / "runs" / "a"
    content = packed(there)
    for _ in range(2):
        cluster.receive(content, here)
        assert record.read_run(here).record == record.read_run(there).record
        assert {path.name for path in here.iterdir()} == {path.name for path in there.iterdir()}
        (here / "checkpoint-1").write_text("of a training that went on elsewhere")
        assert [path.name for path in here.parent.parent.iterdir()] == ["runs"]


def test_a_run_that_comes_broken_changes_nothing(tmp_path):
    here = write_run(tmp_path / "out" / "runs" / "a")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    content = packed(write_run(tmp_path / "node" / "runs" / "a", seed=1))
    with pytest.raises(Exception, match="unexpected end of data"):
        cluster.receive(content[: len(content) // 2], here)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before
    assert [path.name for path in here.parent.parent.iterdir()] == ["runs"]


# ---- on a cluster of this machine


@pytest.fixture
def ray_cluster(tmp_path, monkeypatch):
    """A head that computes nothing, and two nodes of a processor each. Its processes end with the test."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    there = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    there.node_of = [there.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", there.address)
    yield there
    there.shutdown()
