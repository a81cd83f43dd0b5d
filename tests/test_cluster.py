"""Trainings on a Ray cluster. What is sent and what comes back is tested without one; a local cluster of two nodes, of
which one is killed, with branches that train nothing, and a demo that trains, are among the thorough ones."""

import io
import os
import re
import time
from pathlib import Path

import fake_branches
import psutil
import pytest
from fake_runs import write_run

from compare import cluster
from compare.runs import record


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
    (there / "tensorboard").mkdir()
    (there / "tensorboard" / "events").write_text("of every epoch")
    content = packed(there)
    for _ in range(2):
        cluster.receive(content, here)
        assert record.read_run(here).record == record.read_run(there).record
        names = [sorted(str(path.relative_to(run)) for path in run.rglob("*")) for run in (here, there)]
        assert names[0] == names[1]
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


def test_of_a_training_that_failed_before_it_had_a_run_nothing_comes(tmp_path):
    here = write_run(tmp_path / "out" / "runs" / "a")
    before = {path.name: path.read_bytes() for path in here.iterdir()}
    for run in (here, here.with_name("b")):
        cluster.receive(packed(tmp_path / "node" / "runs" / run.name), run)
    assert {path.name: path.read_bytes() for path in here.iterdir()} == before
    assert [path.name for path in here.parent.iterdir()] == ["a"]
    assert [path.name for path in here.parent.parent.iterdir()] == ["runs"]


# ---- on a cluster of this machine


@pytest.fixture
def ray_cluster(fakes, tmp_path, monkeypatch):
    """A head that computes nothing, and two nodes of a processor each, that know the fake branches."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    for branch in fake_branches.BRANCHES.values():
        monkeypatch.setenv(f"FAKE_{branch}", "wait")
    there = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    there.nodes = [there.add_node(num_cpus=1) for _ in range(2)]
    monkeypatch.setenv("RAY_ADDRESS", there.address)
    yield there
    there.shutdown()


def wait_for(what, process, *, seconds=120):
    """What the function gives once that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def training_now(tmp_path) -> dict[str, int]:
    """The processes that train, by the names of the trainings."""
    found = (path.name.split(".", 2) for path in tmp_path.glob("log.*.*"))
    return {name: int(process) for _, process, name in found if psutil.pid_exists(int(process))}


@pytest.mark.thorough
def test_a_node_and_a_driver_that_are_lost_cost_what_they_were_doing(ray_cluster, fakes, tmp_path):
    out, data = tmp_path / "out", tmp_path / "tables" / "x_train.csv"
    data.parent.mkdir()
    data.write_text("label,pixel1\n0,255\n")
    (data.parent / "x_test.csv").write_text("label,pixel1\n1,0\n")
    (data.parent / "secret.csv").write_text("no part of it")
    names = [f"{branch}-seed-{seed}" for seed in "01" for branch in fake_branches.BRANCHES.values()]
    driver = fake_branches.start("--both", "--seeds", "0,1", "--data", data, "--jobs", "ray", "--out", out)
    first = wait_for(lambda: len(now := training_now(tmp_path)) == 2 and now, driver)
    assert set(first) == set(names[:2])

    # a node is lost: nothing of it trains on, and another one does its work
    ray_cluster.remove_node(ray_cluster.nodes[0], allow_graceful=False)
    ray_cluster.add_node(num_cpus=1)
    now = wait_for(lambda: len(now := training_now(tmp_path)) == 2 and now != first and now, driver)
    assert len(set(first.values()) & set(now.values())) == 1

    # the driver is lost when it has a run: that stays, and nothing trains on
    ended = next(iter(now))
    (tmp_path / f"end {ended}").touch()
    kept = wait_for(lambda: list(out.glob("runs/*/record.json")), driver)
    wait_for(lambda: len(training_now(tmp_path)) == 2, driver)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not training_now(tmp_path), None, seconds=20)
    assert [path.parent.name for path in kept] == [ended] and not (out / "index.html").exists()
    written = kept[0].stat().st_mtime_ns

    for name in names:
        (tmp_path / f"end {name}").touch()
    driver = fake_branches.start("--resume", out, "--jobs", "ray")
    printed, err = driver.communicate(timeout=200)
    assert driver.returncode == 0, err
    assert "1 of 4 trainings are complete" in printed and kept[0].stat().st_mtime_ns == written
    assert all(record.read_run(out / "runs" / name) for name in names)
    assert {path.name for path in out.iterdir()} == {"comparison.json", "index.html", "runs"}

    # what they were told of was there, with what belongs to it, and came once
    told = {re.search(r"--data (\S+)", line)[1] for line in fakes() if "--check" not in line}
    (sent,) = map(Path, told)
    assert sent != data and {path.name for path in sent.parent.iterdir()} == {"x_train.csv", "x_test.csv"}
    assert sent.read_text() == data.read_text() and sent.parent.name == "tables"
