"""What an installation takes: the bytes of its packages, and the time, for the project alone and with each extra that
users are offered, each in a new environment. Prints the table of `docs/install.md`.

    UV_CACHE_DIR=an-empty-folder python tests/benchmarks/installed.py

The project alone is timed with all downloads, then, and an extra with those that it adds.
"""

import sys
import tempfile
import time
import tomllib
from pathlib import Path
from platform import machine, python_version, system
from subprocess import check_output

ROOT = Path(__file__).parent.parent.parent
NOT_FOR_USERS = ("test", "dev", "docs")


def installed(extra: str) -> tuple[int, float, dict[str, str]]:
    """The bytes of a new environment, without bytecode; the seconds that its packages took; each with its version."""
    with tempfile.TemporaryDirectory() as folder:
        check_output(["uv", "venv", "-q", "--python", sys.executable, folder])
        begin = time.monotonic()
        check_output(["uv", "pip", "install", "-q", "--python", folder, f"{ROOT}[{extra}]" if extra else ROOT])
        seconds = time.monotonic() - begin
        num_bytes = sum(path.lstat().st_size for path in Path(folder).rglob("*") if path.is_file())
        lines = check_output(["uv", "pip", "freeze", "-q", "--python", folder], text=True).splitlines()
    return num_bytes, seconds, dict(line.split("==") for line in lines if "==" in line)


def main():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    num_bytes, seconds, packages = installed("")
    rows = [f"| the project | {num_bytes / 1e9:.1f} GB | {len(packages)} | {seconds:.0f} s |"]
    for extra in (one for one in extras if one not in NOT_FOR_USERS):
        num_more, seconds, more = installed(extra)
        size = f"+ {(num_more - num_bytes) / 1e6:,.0f} MB"
        rows.append(f"| `{extra}` | {size} | + {len(more.keys() - packages)} | {seconds:.0f} s |")
    frameworks = ", ".join(f"{name} {packages[name]}" for name in ("torch", "tensorflow"))
    print(f"{system()} {machine()}, Python {python_version()}, {frameworks}\n")
    print("\n".join(["| | on disk | packages | time |", "|---|---|---|---|", *rows]))


if __name__ == "__main__":
    main()
