"""The page in a real browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest

from aioposthog_env.reports import Report, write_report
from tests.reports.sample import EVIL, evil, sample

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from tests.reports.browser import Scheme


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    try:
        from tests.reports.browser import chromium, missing

        lacking = missing()
    except ImportError:
        lacking = "the dependency group browser"
    if lacking is not None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"{lacking} is not installed, so the page was not opened")
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: "Chrome", tmp_path: Path) -> "Iterator[Page]":
    yield (page := Page(browser, tmp_path))
    assert page.console() == []
    assert page.opened


class Page:
    """What a person does with the page."""

    def __init__(self, browser: "Chrome", folder: Path) -> None:
        self.browser = browser
        self.file = folder / "run.html"
        self.opened = False

    def open(self, report: Report) -> None:
        write_report(report, self.file)
        self.browser.get(self.file.as_uri())
        self.opened = True

    def one(self, selector: str) -> "WebElement":
        return self.browser.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)"
        return cast("list[str]", self.browser.execute_script(script, selector))

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def console(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.browser.get_log("browser"))  # type: ignore[no-untyped-call]

    def type(self, selector: str, text: str) -> None:
        self.one(selector).clear()
        self.one(selector).send_keys(text)


def test_it_filters_pages_and_folds(page: Page) -> None:
    report = sample(120)
    page.open(report)
    assert page.texts("h1") == [report.title]
    assert len(page.texts("#environments-table tbody tr")) == 50
    page.type("#environments-text", "1007")
    assert page.texts("#environments-found") == ["1 of 120 environments"]
    assert page.texts("#environments-table tbody .id") == ["1007"]
    page.type("#changes-text", "us/pacific")
    assert [text.split()[0] for text in page.texts("#changes-found")] == [str(len(page.texts("#changes-table tbody tr")))]
    assert page.texts("#changes-table tbody .before") == ['"US/Pacific"']
    fold = page.one("#changes-table tbody button")
    affected = {row.name for row in report.rows for change in row.changes if change.before == "US/Pacific"}
    assert fold.get_attribute("aria-expanded") == "false"
    page.run("document.querySelector('#changes-table tbody button').click()")
    assert fold.get_attribute("aria-expanded") == "true"
    assert set(page.texts("#changes-table .members bdi")) == affected
    page.run("document.querySelector('#changes-table tbody button').click()")
    assert page.texts("#changes-table .members") == []


def test_its_pages_turn(page: Page) -> None:
    page.open(sample(120))
    seen = page.texts("#environments-table tbody .id")
    for _ in range(2):
        page.run("[...document.querySelectorAll('#environments .pager button')].at(-1).click()")
        seen += page.texts("#environments-table tbody .id")
    assert seen == [str(id) for id in range(1001, 1121)]
    assert page.run("return [...document.querySelectorAll('#environments .pager button')].map((one) => one.disabled)") == [
        False,
        True,
    ]


def test_2000_environments_and_60_settings(page: Page) -> None:
    report = sample(2000)
    assert (len(report.drift), len(report.drift[0].values)) == (2000, 60)
    page.open(report)
    assert page.file.stat().st_size < 3_000_000
    (found,) = page.texts("#drift-found")
    assert found.startswith("2,000 of 2,000 environments in ")
    lines = page.texts("#drift-table tbody th")
    assert lines[0].endswith("environments alike")
    as_desired = sum(not row.differing(report.desired) for row in report.drift)
    assert lines[0] == f"{as_desired:,} environments alike"
    differing = {name for row in report.drift for name in row.differing(report.desired)}
    assert set(page.texts("#drift-table .setting")) == differing
    page.one("#drift-all").click()
    assert len(page.texts("#drift-table .setting")) == 60
    page.one("#drift-all").click()
    page.one("#drift-group").click()
    assert page.texts("#drift-found")[0].startswith("2,000 of 2,000 environments in 2,000 lines")
    assert len(page.texts("#drift-table tbody tr")) == 50
    page.one("#drift-group").click()
    page.type("#drift-setting", "timezone")
    assert set(page.texts("#drift-table .setting")) == {"timezone"}
    page.one("#drift-only").click()
    wrong = [row for row in report.drift if row.values["timezone"] != "Europe/Berlin"]
    assert page.texts("#drift-found")[0].startswith(f"{len(wrong)} of 2,000 environments")
    assert '"UTC" differs' in page.texts("#drift-table td.differs")
    page.type("#drift-environment", str(wrong[0].id))
    assert page.texts("#drift-found")[0].startswith("1 of 2,000 environments in 1 line;")


def test_what_is_desired_of_one_environment_alone(page: Page) -> None:
    report = sample(3)
    first, second, third = report.drift
    drift = (
        attrs.evolve(first, values={"timezone": "UTC"}, desired={"timezone": "UTC"}),
        attrs.evolve(second, values={"timezone": "UTC"}),
        attrs.evolve(third, values={}),
    )
    page.open(attrs.evolve(report, drift=drift, desired={"timezone": "Europe/Berlin"}))
    cells = page.texts("#drift-table tbody td")
    assert sorted(cells) == ['"UTC" differs', "not shown", "·as it should be"]
    assert page.texts("#drift .lead")[0].startswith("1 of 3 environments differ from what is desired, in 1 of 1 settings")


def test_evil_names_are_text(page: Page) -> None:
    page.open(evil())
    assert page.run("return document.scripts.length") == 2
    assert page.run("return document.querySelectorAll('img, b script, iframe, [onerror]').length") == 0
    assert page.texts("h1") == [EVIL[0]]
    for button in ("all", "only", "group"):
        page.one(f"#drift-{button}").click()
    names = set(page.texts("#environments-table tbody th bdi:first-child"))
    assert {EVIL[0], EVIL[1], EVIL[2], EVIL[-1]} <= names
    assert not any("\u202e" in name for name in names)
    assert page.run("return window.alerted") is None


def test_light_and_dark_are_two_pictures(page: Page) -> None:
    from tests.reports.browser import set_scheme

    page.open(sample(60))
    pictures = []
    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        set_scheme(page.browser, scheme)
        pictures.append(page.browser.get_screenshot_as_base64())
    (light, colours_of_light), (dark, colours_of_dark) = (colours(page.browser, picture) for picture in pictures)
    assert light > 200
    assert dark < 60
    assert min(colours_of_light, colours_of_dark) > 20


def test_the_keyboard_reaches_everything_and_is_seen(page: Page) -> None:
    page.open(sample(60))
    from selenium.webdriver.common.keys import Keys

    reached: list[str | None] = []
    for _ in range(14):
        page.one("body").send_keys(Keys.TAB) if not reached else page.browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.browser.switch_to.active_element
        reached.append(focused.text or focused.get_attribute("id"))
        assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached[0] == "Skip to the report"
    assert reached[1] == "Summary"
    assert page.run("return [...document.querySelectorAll('input, select')].every((one) => one.labels.length === 1)") is True
    assert page.run("return [...document.querySelectorAll('th')].every((one) => one.scope)") is True
    assert page.run("return [...document.querySelectorAll('[role=status]')].every((one) => one.tagName)") is True
    assert page.run("return document.querySelectorAll('main, header, nav, footer, h1').length") == 5


def test_it_is_readable_without_its_script(page: Page) -> None:
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.open(sample(60))
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert len(page.texts("#environments-table tbody tr")) == 25
    assert page.one("#environments .more").is_displayed()
    assert not page.one("#drift-environment").is_displayed()
    assert page.texts("#drift-table tbody .differs bdi")


def test_no_other_script_runs_in_it(page: Page) -> None:
    page.open(sample(3))
    foreign = "<script>window.ran = true</script><img src='data:,' onerror='window.ran = true'></body>"
    page.file.write_text(page.file.read_text(encoding="utf-8").replace("</body>", foreign), encoding="utf-8")
    page.browser.get(page.file.as_uri())
    assert page.run("return window.ran") is None
    refused = page.console()
    assert len(refused) == 2
    assert all("Content Security Policy" in entry["message"] for entry in refused)


def test_it_prints(page: Page) -> None:
    page.open(attrs.evolve(sample(60), drift=sample(2000).drift))
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.one("nav").is_displayed()
        assert not page.one("#drift-environment").is_displayed()
        assert page.one("#summary").is_displayed()
        assert page.run("return getComputedStyle(document.querySelector('.tall')).overflow") == "visible"
        assert page.one("#environments .pager").text == "1 to 50 of 60"
        columns = page.browser.find_elements("css selector", "#drift-table thead th")
        assert len([one for one in columns if one.is_displayed()]) == 1 + 12
        assert page.one("#drift-paper").text == f"Paper has room for the first 12 of these {len(columns) - 1} settings."
    finally:
        page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def colours(browser: "Chrome", picture: str) -> tuple[float, int]:
    """The mean brightness of a picture, from 0, black, to 255, white; and how many colours it has."""
    browser.get("about:blank")
    script = """
        const [source, done] = arguments, image = new Image();
        image.onload = () => {
            const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
            canvas.drawImage(image, 0, 0);
            const pixels = new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer);
            const light = pixels.reduce((sum, one) => sum + (one & 255), 0) / pixels.length;
            done([light, new Set(pixels).size]);
        };
        image.src = "data:image/png;base64," + source;
    """
    mean, number = browser.execute_async_script(script, picture)
    return mean, number
