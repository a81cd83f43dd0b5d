"""One file from the first mirror that serves it right."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import filelock
import pooch
import requests

from compare.command import UserError
from compare.progress import download_bar

CONNECT_SECONDS, READ_SECONDS = 10, 30


def cache_folder() -> Path:
    """The folder that downloads are kept in, by the platform's custom."""
    return Path(pooch.os_cache("scratch-or-pretrained"))


def fetch(urls: list[str], destination: Path, *, problem_with: Callable[[Path], str | None], advice: str) -> Path:
    """Download `destination` from the first of `urls` whose bytes are right, and return it.

    The bytes go to a temporary file beside `destination`, which takes its name only once it was checked. Two processes
    that want the same file download it once.

    Args:
        urls: where the file can be had, the first choice first.
        destination: where it will stand.
        problem_with: what is wrong with a downloaded file, or None.
        advice: what to do when no mirror serves it.

    Raises:
        UserError: no mirror served the file, each with its reason, or the folder cannot be written.
    """
    lock = Path(f"{destination}.lock")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock):
            if destination.exists() and problem_with(destination) is None:  # another process was faster
                return destination
            failures = []
            for url in urls:
                with tempfile.TemporaryDirectory(dir=destination.parent, prefix="partial-") as folder:
                    partial = Path(folder, destination.name)
                    problem = _download(url, partial) or problem_with(partial)
                    if problem is None:
                        os.replace(partial, destination)
                        return destination
                failures.append(f"{url}: {problem}")
    except OSError as error:
        raise UserError(
            f"{destination} could not be written ({error.strerror})",
            "a writable folder with room for the download",
            "free some space or permit writing there, or place the file by hand",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        for folder in (destination.parent, cache_folder()):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only succeeds where nothing came of it
    raise UserError(
        f"{destination.name} could not be downloaded:\n    " + "\n    ".join(failures),
        "one mirror that answers with the right bytes",
        advice,
    )


def _download(url: str, partial: Path) -> str | None:
    """Download one URL; what went wrong, or None."""
    with download_bar(partial.name) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=(CONNECT_SECONDS, READ_SECONDS))
        try:
            downloader(url, str(partial), None)
        except requests.exceptions.RequestException as error:
            response = error.response
            return f"HTTP status {response.status_code}" if response is not None else type(error).__name__
    return None
