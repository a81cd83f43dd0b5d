"""The lines of `docs/install.md` for those without a GPU, word by word, offline: whom uv asks for PyTorch.

An index here has every package but no file of one; as a proxy it hears where else uv wants to go, and goes nowhere.
"""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = os.environ.get("UV") or shutil.which("uv")  # uv run says where it is
PAGE = (ROOT / "docs/install.md").read_text(encoding="utf-8")
INSTALL, RUN = re.search(r"^## Without a GPU\n.*?^```\n(.*?)\n(.*?)\n```", PAGE, re.M | re.S).groups()

pytestmark = pytest.mark.skipif(UV is None, reason="uv is not here")


class Index(http.server.BaseHTTPRequestHandler):
    """Serves every package in a version that is new enough, and its metadata; connects to nothing else."""

    def do_GET(self):
        *_, name, file = self.path.split("/")
        if file:  # NAME-99-py3-none-any.whl.metadata
            body = f"Metadata-Version: 2.1\nName: {file.partition('-')[0]}\nVersion: 99\n"
        else:
            self.server.asked.add(name)
            file = f"{name.replace('-', '_')}-{'0.1.0' if name.startswith('efficientnet') else '99'}-py3-none-any.whl"
            body = f'<a href="/files/{name}/{file}" data-core-metadata="true">{file}</a>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def do_CONNECT(self):
        self.server.asked.add(self.path)
        self.send_error(502)

    def log_message(self, *_):
        pass


@pytest.fixture
def asked(tmp_path):
    """Runs a line in a copy of what uv reads of the project; gives what uv asked this index for, and where else it
    went."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "compare").mkdir()

    def ask(line: str, **more: str) -> set[str]:
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
            server.asked = set()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            here = f"http://127.0.0.1:{server.server_port}"
            own = re.compile("UV_|VIRTUAL_ENV|.*_PROXY", re.IGNORECASE)
            environment = {name: value for name, value in os.environ.items() if not own.match(name)}
            environment |= {"UV_DEFAULT_INDEX": f"{here}/simple", "HTTPS_PROXY": here, "UV_HTTP_RETRIES": "0"}
            environment |= {"UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_CONFIG": "1", "UV_PYTHON": sys.executable}
            environment |= {"PATH": os.pathsep.join([str(Path(UV).parent), os.environ["PATH"]])} | more
            done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
            server.shutdown()
        assert "error: unexpected argument" not in done.stderr and "invalid value" not in done.stderr, done.stderr
        return server.asked

    return ask


def test_pytorch_alone_comes_from_elsewhere(asked):
    found = asked(INSTALL)
    assert {"numpy", "tensorflow", "keras"} <= found
    assert not {"torch", "torchvision"} & found
    (elsewhere,) = {name for name in found if ":" in name}
    assert elsewhere.endswith("pytorch.org:443")


def test_a_synchronisation_takes_the_usual_pytorch_whatever_is_said(asked):
    """Why `--no-sync` is there: `uv run` would put the other one back, and with it asks nobody."""
    found = asked(RUN.replace(" --no-sync", ""), UV_TORCH_BACKEND="cpu")
    assert {"numpy", "torch", "torchvision"} <= found and not any(":" in name for name in found)
    assert " --no-sync " in RUN and asked(RUN) == set()
