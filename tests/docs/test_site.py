"""The documentation site: it builds without a warning, holds everything, and loads nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

import aioposthog_env
from tests.docs.pages import DOCS, ROOT

OUTSIDE: Final = re.compile(r"\s*(https?:)?//", re.I)
LOADED: Final = ("src", "srcset", "data", "poster")


def nav_pages(entry: Any) -> Iterator[str]:
    """The pages that the navigation leads to."""
    if isinstance(entry, str):
        yield entry
    else:
        for one in entry.values() if isinstance(entry, dict) else entry:
            yield from nav_pages(one)


NAV: Final = sorted(nav_pages(YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("zensical") is None and not os.environ.get("CI"):
        pytest.skip("The site is built with the group `docs`, which is not installed.")
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(DOCS, folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower()
    return folder / "site"


def test_every_page_is_in_the_navigation_once_and_is_there() -> None:
    assert sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")) == NAV


def test_every_page_is_built(site: Path) -> None:
    for page in NAV:
        built = site / page.removesuffix(".md").removesuffix("index") / "index.html"
        assert "<h1" in built.read_text(encoding="utf-8"), page


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = [path.read_text(encoding="utf-8") for path in site.glob("reference/*/index.html")]
    described = {name for page in pages for name in re.findall(r'id="aioposthog_env\.(\w+)"', page)}
    assert described >= set(aioposthog_env.__all__)


def test_the_arguments_of_attrs_classes_are_shown_with_their_defaults(site: Path) -> None:
    text = re.sub(r"<[^>]+>", "", (site / "reference/policies/index.html").read_text(encoding="utf-8"))
    assert "max_attempts: int = 5," in text
    assert "wait_ceiling: float | None = 120.0," in text


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(NAV)
    found = [address for page in pages for address in loaded(page.read_text(encoding="utf-8"))]
    assert any(address.endswith(".css") for address in found)
    assert any(address.endswith(".js") for address in found)
    for sheet in site.rglob("*.css"):
        found += re.findall(r"url\(['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", sheet.read_text(encoding="utf-8"))
    assert not [address for address in found if OUTSIDE.match("".join(address))]


def test_the_examination_would_find_it() -> None:
    page = (
        '<link rel="stylesheet" href="https://a.example/a.css"><img src="//a.example/a.png"><a href="https://a.example">a</a>'
    )
    assert [bool(OUTSIDE.match(address)) for address in loaded(page)] == [True, True]


def loaded(page: str) -> list[str]:
    """What a browser loads for a page by itself."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            names = ("href",) if tag == "link" and given.get("rel") not in {"canonical", "next", "prev"} else LOADED
            found.extend(value for name in names if (value := given.get(name)))

    Reader().feed(page)
    return found
