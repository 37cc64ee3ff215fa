"""Makes the pictures of a report: `.venv/bin/python docs/pictures/make_report_pictures.py` (Chromium, the group `browser`)."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from aioposthog_env.reports import Report, write_report  # noqa: E402
from tests.reports.browser import Scheme, chromium, set_scheme  # noqa: E402
from tests.reports.sample import sample  # noqa: E402


def make(report: Report, name: str, scheme: Scheme, *, height: int, begin: str | None = None, press: str | None = None) -> None:
    """Open a report and take a picture of the window.

    Args:
        report: What is shown.
        name: The picture's file.
        scheme: Light or dark.
        height: Of the window, in pixels.
        begin: The id of the section at its top.
        press: The id of a button to press before.
    """
    with TemporaryDirectory() as folder, chromium(1240, height) as browser:
        page = Path(folder) / "run.html"
        write_report(report, page)
        set_scheme(browser, scheme)
        browser.get(page.as_uri())
        if press is not None:
            browser.find_element("id", press).click()
        if begin is not None:
            browser.execute_script(f"document.getElementById({begin!r}).scrollIntoView()")
        browser.save_screenshot(HERE / name)
    print(f"{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")


def main() -> None:
    run, fleet = sample(250), sample(2000, seed=2, title="What differs from policy.yaml")
    make(run, "report-light.png", "light", height=1500)
    make(run, "report-dark.png", "dark", height=1500)
    make(fleet, "report-2000.png", "light", height=1250, begin="drift")


if __name__ == "__main__":
    main()
