"""Makes the picture of a run on a terminal: `.venv/bin/python docs/pictures/make_progress_picture.py`; takes a minute.

It changes 400 environments of a sandbox with PostHog's own rate limit, through a pseudo-terminal, and keeps what the
terminal showed at a few moments.
"""

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from aioposthog_env.pytest_plugin import sandbox_in_a_thread  # noqa: E402
from aioposthog_env.sandbox import Sandbox  # noqa: E402

WIDTH: Final = 100
COMMAND: Final = ("apply", "--settings", "policy.yaml", "--all")
MOMENTS: Final = (r" [1-9]\d/400", r"0:00:2\d\s.*wait for the limit of 480 .* left", r"[23]\d\d/400", r"400/400")
"""What the display says when it is kept: at work, waiting, at work again, done."""
_AGAIN: Final = re.compile(r"(?:\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*|\x1b\[\?25[lh])+")
"""What rich sends before it draws the display again."""
_FONT: Final = re.compile(r"\s*@font-face \{.*?\}", re.S)
"""rich's picture asks another host for its font."""


@attrs.frozen
class Shown:
    """What stood on the terminal.

    Attributes:
        at: Seconds since the start.
        text: With its colours.
    """

    at: float
    text: str


def play(folder: Path) -> list[Shown]:
    """Run the command; everything that was drawn, in order."""
    (folder / "policy.yaml").write_text("settings: {timezone: Europe/Berlin}\n")
    with sandbox_in_a_thread(Sandbox(400)) as sandbox:
        variables = os.environ | {
            "POSTHOG_HOST": sandbox.url,
            "POSTHOG_PERSONAL_API_KEY": sandbox.key(),
            "XDG_STATE_HOME": str(folder),
            "COLUMNS": str(WIDTH),
            "LINES": "40",
            "TERM": "xterm-256color",
            "PYTHONPATH": str(HERE.parents[1]),
        }
        parent, child = pty.openpty()
        command = [sys.executable, "-m", "aioposthog_env", *COMMAND]
        with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, cwd=folder, env=variables):
            os.close(child)
            return watched(parent)


def watched(terminal: int) -> list[Shown]:
    """Read until the end, and type what is asked for."""
    began, seen, shown = time.monotonic(), "", list[Shown]()
    while True:
        try:
            seen += os.read(terminal, 65_536).decode("utf-8", "replace")
        except OSError:  # the other end has closed
            break
        if asked := re.search(r"Type '([^']+)' to go on: $", seen):
            os.write(terminal, f"{asked[1]}\n".encode())
            began = time.monotonic()
        *whole, seen = _AGAIN.split(seen)
        shown += [Shown(time.monotonic() - began, one.replace("\r\n", "\n")) for one in whole if one.strip()]
    os.close(terminal)
    return [*shown, Shown(time.monotonic() - began, seen.replace("\r\n", "\n"))]


def picture(shown: list[Shown]) -> str:
    """The moments below each other, as an SVG that asks nobody for anything."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(f"[bold]$ aioposthog-env {' '.join(COMMAND)}[/]", highlight=False)
    first, *frames = shown
    question = next(line for line in first.text.splitlines() if "to go on:" in line)
    console.print(Text("…"), Text.from_ansi(question), sep="\n")
    for moment in MOMENTS:
        kept = next(one for one in frames if re.search(moment, plain(one.text), re.S))
        console.print(Text(f"\nafter {kept.at:.0f} s", style="italic dim"))
        console.print(Text.from_ansi(kept.text.strip("\n")))
    console.print(Text.from_ansi("\n".join(re.findall(r"^\d+ environments in .*$", plain(frames[-1].text), re.M))))
    return _FONT.sub("", console.export_svg(title="aioposthog-env", unique_id="progress")) + "\n"


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def main() -> None:
    with TemporaryDirectory() as folder:
        shown = play(Path(folder))
    (HERE / "progress.svg").write_text(picture(shown), encoding="utf-8")
    print(f"progress.svg: {(HERE / 'progress.svg').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
