"""One file from the first mirror that serves it right. The only room of the house that opens a connection.

On requests and not on pooch, whose downloader this once was: it knows no mirrors, no lock, no cap on the size and no
limit for a server that trickles, and it follows a redirect from https to http. A download that breaks off begins anew
at the next mirror: the largest file has 95 MB, and pieces of two answers are one file only by luck.
"""

import contextlib
import functools
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock
import platformdirs
import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from compare.system import disk
from compare.system.environment import OFFLINE_VARIABLE
from compare.system.errors import UserError

MIRRORS_VARIABLE = "SCRATCH_OR_PRETRAINED_MIRRORS"
CONNECT_SECONDS, READ_SECONDS = 10, 30  # for one packet
STALL_SECONDS, STALL_BYTES = 60, 300_000  # a mirror that sends fewer in that time is left for the next
LOCK_SECONDS = 3600  # for another process' download; then this one makes the file as well
STALE_SECONDS = 3600  # a download writes all the time: what was not written for so long was killed
CHUNK_BYTES = 1 << 18
REASONS = {
    "ConnectionError": "no connection",
    "ConnectTimeout": "no connection in time",
    "ProxyError": "the proxy refuses or is not there: see HTTPS_PROXY",
    "ReadTimeout": "no answer in time",
    "SSLError": "its certificate is not trusted here; where a proxy opens HTTPS, name its certificate in SSL_CERT_FILE",
    "TooManyRedirects": "redirects without end",
}
SOCKS_ADVICE = "install PySocks, which a SOCKS proxy needs (pip install pysocks), or name an HTTP proxy by HTTPS_PROXY"


Parts = queue.SimpleQueue[int | bytes | str | None]  # see `_read`


def cache_folder() -> Path:
    """The folder that downloads are kept in, by the platform's custom. Without a home it is not absolute."""
    return platformdirs.user_cache_path("scratch-or-pretrained", appauthor=False)


def is_offline() -> bool:
    """Whether `--offline` was said, here or by the command that started this one."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def urls(mirrors: Sequence[str], name: str) -> list[str]:
    """Where the file `name` can be had: below the user's own mirrors first, which MIRRORS_VARIABLE lists with spaces
    between, then below `mirrors`.

    Raises:
        UserError: one of the user's is not the address of a web server.
    """
    own = os.environ.get(MIRRORS_VARIABLE, "").split()
    for mirror in own:
        if not re.match("https?://[^/]", mirror):
            raise UserError(
                f"{MIRRORS_VARIABLE} lists {without_password(mirror)}",
                "addresses that begin with https:// or http://, with spaces between; each is a folder of files",
                "mend or unset it; a folder of this machine is named by --data-dir and --weights",
            )
    return [mirror.rstrip("/") + f"/{name}" for mirror in (*own, *mirrors)]


def without_password(url: str) -> str:
    """The address without a user's name and password, to be shown."""
    return re.sub("//[^/@]*@", "//***@", url)


def fetch(
    mirrors: Sequence[str],
    destination: Path,
    *,
    max_bytes: int,
    problem_with: Callable[[Path], str | None],
    advice: str,
) -> Path:
    """Download `destination` from the first mirror whose bytes are right, and return it.

    The bytes go to a file of a name of its own in the same folder, reach the disk, are checked, and only then take the
    name. Processes that want the same file at once download it once. A bad file that stands there already, whoever put
    it there, is renamed, not deleted.

    Args:
        mirrors: addresses that the file's name is put after, the first choice first.
        destination: where it will stand.
        max_bytes: a server that sends more is not believed.
        problem_with: what is wrong with a file, or None; nothing else opens it before.
        advice: what to do when no mirror serves it.

    Raises:
        UserError: no mirror served the file, each with its reason; or none may be asked; or the folder cannot be
            written.
    """
    addresses = urls(mirrors, destination.name)
    by_hand = f"{advice}; or get {without_password(addresses[0])} on another machine and place it as {destination}"
    there = f"{destination} {problem_with(destination)}" if destination.exists() else f"{destination} is not there"
    if is_offline():
        raise UserError(f"{there}, and --offline forbids its download", "the file on this machine", by_hand)
    if not destination.is_absolute():
        raise UserError(
            f"no home folder: a download would be kept in {destination.parent}",
            "an absolute path to keep it in",
            "set HOME, or XDG_CACHE_HOME to a folder that can be written",
        )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with alone(destination):
            if destination.exists() and problem_with(destination) is None:  # another process was faster
                return destination
            sweep(destination.parent)
            failures = []
            for url in addresses:
                with tempfile.TemporaryDirectory(dir=destination.parent, prefix=disk.PARTIAL) as folder:
                    partial = Path(folder, destination.name)
                    problem = _download(url, partial, max_bytes) or problem_with(partial)
                    if problem is None:
                        if destination.exists():
                            _set_aside(destination)
                        os.replace(partial, destination)
                        disk.sync(destination.parent)
                        return destination
                failures.append(f"{without_password(url)}: {problem}")
                if SOCKS_ADVICE in problem and SOCKS_ADVICE not in by_hand:
                    by_hand = f"{SOCKS_ADVICE}; or {by_hand}"
    except OSError as error:
        raise UserError(
            f"{destination} could not be written ({error.strerror or error})",
            "a writable folder with room for the download",
            "free some space or permit writing there, or place the file by hand",
        ) from error
    raise UserError(
        f"{there}, and could not be downloaded:\n    " + "\n    ".join(failures),
        "one mirror that answers with the right bytes",
        by_hand,
    )


def keep(destination: Path, num_bytes: int, make: Callable[[Path], None]) -> Path:
    """Have something made and kept in the cache: whole or not at all, and by one process, which others wait for.

    Args:
        destination: the file or the folder.
        num_bytes: of room that it takes.
        make: writes it to another name, and lets it reach the disk.

    Returns:
        `destination`, made now or before.

    Raises:
        UserError: it cannot be written.
    """
    advice = "set XDG_CACHE_HOME to a folder with room that can be written"
    if not destination.is_absolute():
        raise UserError(f"no home folder: images would be kept in {destination.parent}", "an absolute path", advice)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with alone(destination):
            if not destination.exists():
                sweep(destination.parent)
                disk.check_room(destination.parent, num_bytes)
                with tempfile.TemporaryDirectory(dir=destination.parent, prefix=disk.PARTIAL) as folder:
                    make(Path(folder, destination.name))
                    os.replace(Path(folder, destination.name), destination)
                disk.sync(destination.parent)
    except OSError as error:
        raise UserError(
            f"{destination} could not be written ({error.strerror or error})",
            f"room for {num_bytes / 1e6:,.0f} MB, where images are kept once they are decoded",
            advice,
        ) from error
    return destination


@contextlib.contextmanager
def alone(destination: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[bool]:
    """Wait so long while another process makes the same file; whether none does. The lock's file stays: to delete it
    would let in two at once. Where a network disk has no locks, each process makes its own; names of their own keep
    that right."""
    lock = filelock.FileLock(destination.with_name(f".{destination.name}.lock"))
    with contextlib.suppress(filelock.Timeout, NotImplementedError):
        lock.acquire(timeout=seconds)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _download(url: str, partial: Path, max_bytes: int) -> str | None:
    """Download one URL to the disk; what went wrong, or None.

    What comes is read by a thread, which may be left behind: the timeouts of requests are for one packet and bound
    neither a name server nor a header or body that trickles.
    """
    parts: Parts = queue.SimpleQueue()
    left = threading.Event()
    threading.Thread(target=_read, args=(url, parts, left), daemon=True).start()
    num_bytes = num_bytes_before = 0
    deadline = time.monotonic() + STALL_SECONDS
    try:
        with (
            bar(partial.name, None, DownloadColumn(), TransferSpeedColumn()) as move_on,
            partial.open("wb") as file,
        ):
            while True:
                try:
                    part = parts.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    part = b""
                if part is None:
                    file.flush()
                    os.fsync(file.fileno())
                    return None
                if isinstance(part, str):
                    return part
                if isinstance(part, int):
                    move_on(total=part)
                    continue
                num_bytes += len(part)
                if num_bytes > max_bytes:
                    return f"sends more than the {max_bytes:,} bytes that the file can have"
                file.write(part)
                move_on(advance=len(part))
                if time.monotonic() >= deadline:
                    if num_bytes - num_bytes_before < STALL_BYTES:
                        return f"stalled: {num_bytes - num_bytes_before:,} bytes in {STALL_SECONDS} s"
                    num_bytes_before, deadline = num_bytes, time.monotonic() + STALL_SECONDS
    finally:
        left.set()


def _read(url: str, parts: Parts, left: threading.Event) -> None:
    """Hand over what a URL serves: its length if known, its bytes as they come, None at the end; or why not."""
    try:
        with open_url(url) as response:
            raw = response.raw
            if response.status_code != 200:
                parts.put(f"HTTP status {response.status_code}")
                return
            expected, num_bytes = raw.length_remaining, 0
            if expected is not None:
                parts.put(expected)
            # as sent, not as a Content-Encoding says: the hash is of the file
            while not left.is_set() and (part := raw.read1(CHUNK_BYTES, decode_content=False)):
                num_bytes += len(part)
                parts.put(part)
            parts.put(None if expected in (None, num_bytes) else f"broke off after {num_bytes:,} of {expected:,} bytes")
    except (
        Exception
    ) as error:  # requests, urllib3, http.client and ssl raise their own kinds, a bad proxy's name others
        parts.put(reason(error))


@contextlib.contextmanager
def open_url(url: str, *, method: str = "GET", seconds: float | None = None) -> Iterator[requests.Response]:
    """The response to a request, by requests: proxies are taken from the environment, certificates from
    REQUESTS_CA_BUNDLE, which requests knows, or SSL_CERT_FILE, which it does not. From https only to https. A packet is
    waited for `seconds`, if given."""
    with requests.Session() as session:
        session.max_redirects = 5
        session.verify = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or True
        if url.startswith("https:"):
            del session.adapters["http://"]
        headers = {"Accept-Encoding": "identity"}
        timeout = seconds or (CONNECT_SECONDS, READ_SECONDS)
        with session.request(method, url, stream=True, timeout=timeout, headers=headers, allow_redirects=True) as got:
            yield got


def reason(error: Exception) -> str:
    """Why a request failed, in words."""
    name = type(error).__name__
    if name == "InvalidSchema" and "'http:" in str(error):  # see `open_url`
        return "redirects from https to http, which is not followed"
    if "dependencies for SOCKS" in str(error):
        return f"the proxy is one of SOCKS: {SOCKS_ADVICE}"
    if "SOCKS version" in str(error):  # desktops write ALL_PROXY=socks://…
        return f"{without_password(str(error))}: write socks5h:// for it"
    return f"{name}, {REASONS.get(name) or without_password(str(error))[:200]}"


def _set_aside(path: Path) -> None:
    """Rename a bad file, and say so."""
    number = 1
    while (aside := path.with_name(f"{path.name}.bad-{number}")).exists():
        number += 1
    path.rename(aside)
    print(f"{path} was not what it should be: kept as {aside.name}, and downloaded anew", file=sys.stderr)


def sweep(folder: Path) -> None:
    """Delete what killed processes left of files and folders that they were writing there."""
    for partial in folder.glob(f"{disk.PARTIAL}*"):
        with contextlib.suppress(OSError):
            if time.time() - max(path.stat().st_mtime for path in (partial, *partial.rglob("*"))) > STALE_SECONDS:
                shutil.rmtree(partial) if partial.is_dir() else partial.unlink()


@contextlib.contextmanager
def bar(title: str, total: int | None, *columns: ProgressColumn) -> Iterator[Callable[..., None]]:
    """A bar on standard error, where that is a terminal, with a title, these columns and the time that is left; what
    moves it on takes `advance` and `total`, as `rich.progress.Progress.update` does."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *columns, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield functools.partial(progress.update, progress.add_task(title, total=total))
