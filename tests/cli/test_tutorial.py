"""The tutorial's transcript is what a person sees who follows it, at a terminal of their own.

``UPDATE_TUTORIAL=1 pytest tests/cli/test_tutorial.py`` writes it anew.
"""

import codecs
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import serving

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"```console\n(.*?)```", re.S)


def at_a_terminal(command: str, folder: Path, variables: dict[str, str]) -> str:
    """What a command shows at a terminal of 110 columns, where somebody types what it asks for."""
    parent, child = pty.openpty()
    words = command.replace("aioposthog-env ", f"{sys.executable} -m aioposthog_env ", 1)
    size = {"COLUMNS": "110", "LINES": "50", "TERM": "dumb", "NO_COLOR": "1"}
    process = subprocess.Popen(
        ["bash", "-c", words], stdin=child, stdout=child, stderr=child, cwd=folder, env=os.environ | variables | size
    )
    os.close(child)
    seen, decoder = "", codecs.getincrementaldecoder("utf-8")()
    while True:
        try:
            piece = decoder.decode(os.read(parent, 65_536))
        except OSError:  # the other end has closed
            break
        seen += piece
        if asked := re.search(r"Type '([^']+)' to go on: $", seen):
            os.write(parent, f"{asked[1]}\n".encode())
    os.close(parent)
    process.wait(timeout=30)
    return seen.replace("\r\n", "\n")


def tidied(text: str, url: str) -> str:
    """Without what differs from run to run."""
    text = text.replace(url, "http://127.0.0.1:8010")
    text = re.sub(r"^\w+ ━.*\n.*\n", "", text, flags=re.M)  # the progress and the words under it
    text = re.sub(r"^.*━.*\n", "", text, flags=re.M)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    text = re.sub(r"in \d+\.\d s", "in 0.1 s", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "2026-11-25T10:00:00+00:00", text)
    text = re.sub(r"(\d+) of (480|4800) in", r"3 of \2 in", text)
    text = re.sub(r"only \d+ s old", "only 1 s old", text)
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def test_the_tutorial_shows_what_happens(tmp_path: Path) -> None:
    document = TUTORIAL.read_text(encoding="utf-8")
    with serving(12) as sandbox:
        session = sandbox.session()
        variables = {
            "POSTHOG_HOST": sandbox.url,
            "POSTHOG_PERSONAL_API_KEY": sandbox.key(),
            "POSTHOG_SESSION_ID": session.session_id,
            "POSTHOG_CSRF_TOKEN": session.csrf_token,
        }

        def followed(block: "re.Match[str]") -> str:
            commands = [line for line in block[1].splitlines() if line.startswith("$ ")]
            shown = [f"{one}\n{tidied(at_a_terminal(one[2:], tmp_path, variables), sandbox.url)}" for one in commands]
            return "```console\n" + "".join(shown) + "```"

        written = BLOCK.sub(followed, document)
        assert [sandbox.effects["rotate_secret_token", id] for id in (1, 2, 3)] == [1, 1, 0]
        assert not any(secret in written for secret in sandbox.secrets)
    assert {one.name for one in tmp_path.iterdir()} >= {"plan.json", "run.db", "run.html", "secrets.jsonl", "rotation.db"}
    if os.environ.get("UPDATE_TUTORIAL"):
        TUTORIAL.write_text(written, encoding="utf-8")
        pytest.skip("the tutorial was written anew")
    assert written == document
