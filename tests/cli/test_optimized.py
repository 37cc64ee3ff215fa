"""Where Python drops docstrings and assertions, the command line still says what it does."""

import subprocess
import sys
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


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


def test_the_page_of_the_commands_is_the_same_without_docstrings() -> None:
    code = "import runpy, sys; sys.stdout.write(runpy.run_path('make_reference.py')['PAGES']['commands.md']())"
    made = subprocess.run(
        [sys.executable, "-OO", "-c", code], cwd=REFERENCE, capture_output=True, text=True, timeout=50, check=True
    )
    assert made.stdout == (REFERENCE / "commands.md").read_text(encoding="utf-8")
