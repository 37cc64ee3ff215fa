"""Where Python drops docstrings and assertions, the command line still says what it does."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["rotate-secrets", "--help"]])
def test_the_help_is_the_same_without_docstrings(arguments: list[str]) -> None:
    usual, optimized = (
        subprocess.run(
            [sys.executable, *flags, "-m", "aioposthog_env", *arguments], capture_output=True, text=True, timeout=50, check=True
        ).stdout
        for flags in ([], ["-OO"])
    )
    assert len(usual.splitlines()) > 20
    assert optimized == usual
