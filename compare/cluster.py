"""Trainings on a Ray cluster: `--jobs ray`.

Each is a task that runs the same command as here, in a temporary folder of its node and in a process that ends with the
worker. It gives back the exit code and the run, which is written here as it comes: what a lost node was doing is done
again, and no more; what has come stays, whatever becomes of this process. Code, and the files that the trainings are
told of, reach every node once, by their digests.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from compare import plan, start, supervise
from compare.jobs import Ahead, Expected, Jobs, takes_any_gpu
from compare.plan import Options, Training
from compare.system import environment
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError, extra_missing
from compare.training.options import EXPECTED, SHARED

# Options whose values may be files or folders of this machine.
PLACES = ("--data", "--data-dir", "--split", "--weights", "--recipe")
NUM_TIMES_AGAIN = 3  # that a training begins anew whose node was lost
SECONDS_BETWEEN_LOOKS = 1.0
BYTES_AT_ONCE = 2**26


@dataclasses.dataclass(frozen=True)
class Sent:
    """A file or folder of this machine in the cluster's store.

    Attributes:
        name: of it, with that of the folder that it lies in.
        digest: the SHA-256 of what was sent.
        num_bytes: how many that is.
        parts: references to it.
    """

    name: str
    digest: str
    num_bytes: int
    parts: list[Any]


# ---- here


@contextlib.contextmanager
def connected(trainings: Iterable[Training]) -> Iterator[None]:
    """Work with the cluster that RAY_ADDRESS names or that this machine is part of, else with one of this machine
    alone, and let its nodes have the code of these trainings.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """
    if importlib.util.find_spec("ray") is None:
        raise extra_missing("--jobs ray, and ray is not installed", "ray")
    # Ray's own: every training's lines are shown, plain, nodes need no uv where this process was begun by it, and what
    # is begun on this machine alone has its share of it beside other work, as without Ray
    os.environ |= {"RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    from compare.data import download
    from compare.system import machine

    names = ("KERAS_BACKEND", environment.OFFLINE_VARIABLE, download.MIRRORS_VARIABLE)
    variables = environment.recorded() | {name: os.environ[name] for name in names if name in os.environ}
    variables[machine.COMMIT] = machine.commit() or ""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as until:
        for package in {*start.OURS, *(training.branch for training in trainings)}:
            spec = importlib.util.find_spec(package)  # found, not imported: a branch may bring its framework
            for folder in (spec and spec.submodule_search_locations) or ():
                shutil.copytree(folder, Path(place, package), ignore=shutil.ignore_patterns("__pycache__"))
        how = {"runtime_env": {"working_dir": place, "env_vars": variables}, "logging_level": "error"}
        try:
            try:
                ray.init("auto", **how)
            except ConnectionError:  # there is none
                ray.init(include_dashboard=False, **how)
        except Exception as error:
            raise UserError(
                f"--jobs ray: {type(error).__name__}: {str(error)[:500]}",
                "a cluster of the same Python and the same Ray as here, or none",
                "see what `ray status` says, or name another by RAY_ADDRESS",
            ) from error
        until.callback(ray.shutdown)
        yield


def at_most(ahead: Ahead, begun: dict[str, int]) -> Jobs:
    """How many of these trainings the nodes take at a time, and with how many threads each: where they have GPUs one on
    each, else as many as there is work for."""
    nodes, asked = nodes_there(), environment.threads_asked()
    if sum(num_gpus for _, num_gpus in nodes) and any(takes_any_gpu(training) for training, _ in ahead):
        num_threads = asked or min(num_cores // num_gpus for num_cores, num_gpus in nodes if num_gpus)
        number = sum(num_gpus for _, num_gpus in nodes)
    else:
        cores = [num_cores for num_cores, _ in nodes]
        num_threads = asked or min(sum(cores) // len(ahead), *cores)
        number = sum(num_cores // max(1, num_threads) for num_cores in cores)
    return Jobs(max(1, min(number, len(ahead))), threads_asked=max(1, num_threads), begun=begun, on_ray=True)


def nodes_there() -> list[tuple[int, int]]:
    """The processors and the GPUs of every node that has any."""
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(one["CPU"]), int(one.get("GPU", 0))) for one in found if one.get("CPU", 0) >= 1] or [(1, 0)]


def train(trainings: list[Training], runs: Path, at_once: Jobs, expected: Expected) -> int:
    """Bring each training to its end on the cluster; otherwise as `compare.run.train`."""
    import ray

    most_cores, most_gpus = map(max, zip(*nodes_there(), strict=True))
    sent: dict[Path, Sent] = {}
    waiting = {}
    with supervise.heard() as stops:
        for training in trainings:
            run = runs / training.name
            if (words := plan.words_left(training, run)) is None:
                continue
            *words, last, _ = words  # --out or --resume, and where
            on_gpu = most_gpus > 0 and takes_any_gpu(training)
            num_threads = at_once.begun.get(training.name, at_once.num_threads)
            task = ray.remote(bring).options(
                name=training.name,
                num_cpus=min(num_threads, most_cores),
                num_gpus=int(on_gpu),
                max_retries=NUM_TIMES_AGAIN,
            )
            variables = {environment.THREADS: str(num_threads)} | ({} if on_gpu else {SHARED: "1"})
            variables[EXPECTED] = json.dumps(expected.get(training.name, {}).get("epochs", []))
            told = task.remote(
                training,
                [*with_files_sent(plan.by_option(words), sent), last],
                begun=send(run) if last == "--resume" else None,
                variables=variables,
            )
            waiting[told] = training
        while waiting and not stops:
            for ended in ray.wait(list(waiting), timeout=SECONDS_BETWEEN_LOOKS)[0]:
                training = waiting.pop(ended)
                run = runs / training.name
                try:
                    code, content = ray.get(ended)
                except ray.exceptions.RayError as error:
                    supervise.note_failure(run, training.name, str(error).strip().splitlines()[-1][:300])
                    continue
                receive(content, run)
                if code != EXIT_DONE:
                    supervise.note_failure(run, training.name, supervise.ending(code))
                else:
                    print(f"{training.name}: complete, in {run}", flush=True)
    return supervise.asked_by(stops) or EXIT_DONE


def with_files_sent(options: Options, sent: dict[Path, Sent]) -> list[str | Sent]:
    """The words of a command line, with what they name of this machine in the cluster's store; `sent` keeps what is."""
    words: list[str | Sent] = []
    for option, values in options.items():
        words += [option] if option else []
        for value in values:
            path = Path(value)
            if option in PLACES and path.is_absolute() and path.exists():
                words.append(sent.setdefault(path, sent.get(path) or send(path)))
            else:
                words.append(value)
    return words


def send(path: Path) -> Sent:
    """Put a file or a folder into the cluster's store; with a table, the other parts that lie beside it."""
    import ray

    from compare.data import tables

    is_table = path.is_file() and tables.is_table(path)
    with tempfile.TemporaryFile() as file:
        pack(sum(tables.files_of(path).values(), []) if is_table else [path], file)
        num_bytes = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        parts = [ray.put(part) for part in iter(lambda: file.read(BYTES_AT_ONCE), b"")]
    return Sent(f"{path.parent.name}/{path.name}", digest, num_bytes, parts)


def receive(content: bytes, run: Path) -> None:
    """Write a run that has come from a node, whole, in the place of what was there of it; nothing where none came.

    Raises:
        UserError: it cannot be written; what was there is as it was.
    """
    from compare.system import disk

    # beside the comparison's own files, where who goes on with it removes what a kill has left
    new, old = (run.parents[1] / f"{disk.PARTIAL}{os.getpid()}-{word}-{run.name}" for word in ("new", "old"))
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        unpack(io.BytesIO(content), new)
        if not (brought := new / run.parent.name / run.name).exists():  # it failed before it had a folder
            return
        for path in filter(Path.is_file, new.rglob("*")):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if run.exists():
            run.replace(old)
        brought.replace(run)
        disk.sync(run.parent)
    except OSError as error:
        raise disk.cannot_write(f"{run} could not be written", run.parent, error, exit_code=EXIT_FAILED) from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def pack(paths: Sequence[Path], file: BinaryIO) -> None:
    """Write files, and folders with all that is in them, as a tar archive whose bytes depend on their names and
    contents alone. Links are followed to files that lie in the same folder."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.mtime = info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mode = 0o600
        return info

    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        for path in paths:
            root = path.resolve()
            for one in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if one.is_file() and one.resolve().is_relative_to(root):
                    name = Path(path.parent.name, path.name, one.relative_to(root))
                    archive.add(one, name, recursive=False, filter=plain)


def unpack(file: BinaryIO, folder: Path) -> None:
    """Write what `pack` wrote into a folder."""
    folder.mkdir()
    with tarfile.open(fileobj=file) as archive:
        archive.extractall(folder, filter="data")


# ---- on a node


def bring(
    training: Training, words: list[str | Sent], *, begun: Sent | None, variables: dict[str, str]
) -> tuple[int, bytes]:
    """Bring a training to its end.

    Args:
        training: which.
        words: of its command line, but for where the run lies, which comes last.
        begun: what there is of the run.
        variables: of its environment.

    Returns:
        Its exit code, as `supervise.run_branch` gives it, and what there is of the run by then.
    """
    told = [str(on_this_node(word)) if isinstance(word, Sent) else word for word in words]
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)  # Ray's own folder may go while its task goes on, and in one that is gone MKL does not compute
        run = Path(place, "runs", training.name)
        if begun is not None:
            fetch(begun, Path(place, "begun"))
            Path(place, "begun", begun.name).rename(run)
        code = supervise.run_branch(training.branch, [*told, str(run)], environment=variables, stops=[], watched=True)
        content = io.BytesIO()
        pack([run], content)
        return code, content.getvalue()


def on_this_node(sent: Sent) -> Path:
    """Where a file or folder that was sent is on this node; all that run here share it."""
    from compare.data import download

    kept = download.cache_folder() / "sent" / sent.digest
    return download.keep(kept, 2 * sent.num_bytes, lambda folder: fetch(sent, folder)) / sent.name


def fetch(sent: Sent, folder: Path) -> None:
    """Write to a new folder what was sent."""
    import ray

    with tempfile.TemporaryFile() as file:
        for part in sent.parts:
            file.write(ray.get(part))
        file.seek(0)
        unpack(file, folder)
