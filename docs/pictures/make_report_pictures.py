"""Makes the pictures of a report: `.venv/bin/python docs/pictures/make_report_pictures.py` (Chromium, the group `browser`)."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from aioposthog_env.reports import Report, write_report  # noqa: E402
from tests.reports.browser import Scheme, chromium, set_scheme  # noqa: E402
from tests.reports.sample import sample  # noqa: E402


def make(report: Report, name: str, scheme: Scheme, *, height: int) -> None:
    """Open a report and take a picture of the window.

    Args:
        report: What is shown.
        name: The picture's file.
        scheme: Light or dark.
        height: Of the window, in pixels.
    """
    with TemporaryDirectory() as folder, chromium(1240, height) as browser:
        page = Path(folder) / "run.html"
        write_report(report, page)
        set_scheme(browser, scheme)
        browser.get(page.as_uri())
        browser.save_screenshot(HERE / name)
    print(f"{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


def main() -> None:
    run = attrs.evolve(sample(250), drift=())
    audit = attrs.evolve(sample(2000, seed=2), title="What differs from policy.yaml", rows=(), notes=())
    audit = attrs.evolve(audit, command="aioposthog-env audit policy.yaml --profile eu --report audit.html")
    make(run, "report-light.png", "light", height=2660)
    make(run, "report-dark.png", "dark", height=2660)
    make(audit, "report-2000.png", "light", height=1750)


if __name__ == "__main__":
    main()
