"""Makes the pictures of a report: `.venv/bin/python docs/pictures/make_report_pictures.py` (Chromium, the group `browser`)."""

import base64
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from aioposthog_env.reports import Report, write_report  # noqa: E402
from tests.reports.browser import Scheme, chromium, set_scheme  # noqa: E402
from tests.reports.sample import sample  # noqa: E402

WIDTH = 1240
MARGIN = 32


def make(report: Report, name: str, scheme: Scheme, *, until: str) -> None:
    """Open a report and take a picture from its top to the end of a section.

    Args:
        report: What is shown.
        name: The picture's file.
        scheme: Light or dark.
        until: The id of the last section in the picture.
    """
    with TemporaryDirectory() as folder, chromium(WIDTH, 1000) as browser:
        page = Path(folder) / "run.html"
        write_report(report, page)
        set_scheme(browser, scheme)
        browser.get(page.as_uri())
        bottom = browser.execute_script(f"return document.getElementById('{until}').getBoundingClientRect().bottom")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": bottom + MARGIN, "scale": 1}
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
        (HERE / name).write_bytes(base64.b64decode(picture["data"]))
    print(f"{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


def main() -> None:
    run = attrs.evolve(sample(250), drift=())
    audit = attrs.evolve(sample(2000, seed=2), title="What differs from policy.yaml", rows=(), notes=())
    audit = attrs.evolve(audit, command="aioposthog-env audit policy.yaml --profile eu --report audit.html")
    make(run, "report-light.png", "light", until="requests")
    make(run, "report-dark.png", "dark", until="requests")
    make(audit, "report-2000.png", "light", until="drift")


if __name__ == "__main__":
    main()
