"""What tests need that Windows has not: signals that are caught or kill, fork, named pipes, limits of processes, links
that anybody may make."""

import os

import pytest

needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


def skip_elsewhere() -> None:
    """Skip a whole file of tests before Python meets in it what is not there."""
    if os.name != "posix":
        pytest.skip("needs POSIX", allow_module_level=True)
