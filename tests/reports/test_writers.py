"""What is written, in each form, whatever the texts are that it is made of."""

import base64
import csv
import errno
import hashlib
import io
import json
import os
import re
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aioposthog_env import BulkReport, ConfigurationError, EnvironmentRef, NotFoundError, Outcome
from aioposthog_env.bulk.outcome import Status
from aioposthog_env.reports import Report, ReportChange, check_report_path, write_report
from aioposthog_env.reports.csv import COLUMNS
from aioposthog_env.reports.text import cell, code, cut, embedded, plain, room, sentence, shown
from tests.reports.sample import EVIL, evil, sample

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FORMULA = tuple("=+-@\t\r＝＋－＠")  # noqa: RUF001


def written(report: Report, tmp_path: Path, ending: str) -> str:
    file = tmp_path / f"run.{ending}"
    write_report(report, file)
    return file.read_bytes().decode()


def test_csv_has_a_line_for_each_change_and_each_difference(tmp_path: Path) -> None:
    report = sample(40)
    lines = list(csv.DictReader(io.StringIO(written(report, tmp_path, "csv"))))
    assert tuple(lines[0]) == COLUMNS
    differing = [(row, name) for row in report.drift for name in row.differing(report.desired)]
    as_desired = [row for row in report.drift if not row.differing(report.desired)]
    changes = sum(max(1, len(row.changes)) for row in report.rows)
    assert len(lines) == changes + len(differing) + len(as_desired)
    changed = next(line for line in lines if line["setting"] == "anonymize_ips")
    assert (changed["before"], changed["after"], changed["status"]) == ("false", "true", "succeeded")
    assert {line["status"] for line in lines[changes:]} == {"differs", "as desired"}
    assert {int(line["environment"]) for line in lines} == {row.id for row in report.rows}


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    rows = list(csv.reader(io.StringIO(written(evil(), tmp_path, "csv"))))
    assert len(rows) > len(EVIL)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert not [one for row in rows for one in row if one.lstrip(" ").startswith(FORMULA)]
    assert all(one.isprintable() for row in rows for one in row)
    names = {row[2] for row in rows}
    assert {'\'=HYPERLINK("https://evil.example","x")', "'+1", "'-1", "'@SUM(A1)"} <= names


@given(st.text())
def test_a_cell_never_begins_a_formula(text: str) -> None:
    assert not cell(text).lstrip().startswith(FORMULA)
    assert cell(text).replace("'", "") == plain(text).replace("'", "")


@given(st.text(alphabet=st.sampled_from("a;,\"' \t=+-@")))
@example("a;=1+1")
@example('a; "=1+1"')
@example('x";"=1+1')
def test_no_cell_is_a_formula_where_semicolons_end_cells(text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow(["host", cell(text), "end"])
    cells = next(csv.reader([file.getvalue().rstrip()], delimiter=";"))
    assert not [one for one in cells if one.lstrip().startswith(FORMULA)]


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("\U0001f469\u200d\U0001f4bb", "\U0001f469\u200d\U0001f4bb"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\u6771\u3000\u4eac 1\u00a0000", "\u6771 \u4eac 1 000"),
        ("pro\u200dd\u200c", "pro\ufffdd\ufffd"),
        ("\u200d=1", "\ufffd=1"),
        ("\u202egpj\u2066\u200f", "\ufffdgpj\ufffd\ufffd"),
        ("a\tb\nc\x00", "a\ufffdb\ufffdc\ufffd"),
    ],
)
def test_names_in_any_script_stay_readable(text: str, held: str) -> None:
    assert plain(text) == held


def test_json_holds_everything(tmp_path: Path) -> None:
    report = sample(40)
    text = written(report, tmp_path, "json")
    value = json.loads(text)
    assert value["format"] == 1
    assert value["counts"] == report.counts
    assert value["started"] == "2026-03-02T08:15:00+00:00"
    names = {field.name for field in attrs.fields(Report)}
    assert value.keys() == names | {"format", "counts", "done_earlier"}
    assert value["rows"][0] == json.loads(json.dumps(attrs.asdict(report.rows[0])))
    assert value["drift"][5]["values"] == dict(report.drift[5].values)
    assert len(value["requests"]) == len(report.requests)


def test_json_is_ascii_whatever_is_in_it(tmp_path: Path) -> None:
    text = written(evil(), tmp_path, "json")
    assert text.isascii()
    assert [row["name"] for row in json.loads(text)["rows"]] == list(EVIL)


def test_markdown_tells_what_to_do_what_changed_and_what_differs(tmp_path: Path) -> None:
    report = sample(400)
    text = written(report, tmp_path, "md")
    assert text.startswith(f"# {report.title}\n\n`{report.command}`\n\nStarted 2026-03-02 08:15:00 UTC, took ")
    assert f"| succeeded | {report.counts['succeeded']} |" in text
    for title in ("## What to do", "## Changes", "## Drift"):
        assert title in text
    assert "| `anonymize_ips` | `false` | `true` | succeeded |" in text
    assert re.search(r"… and \d+ more\.$", text), "the last table is cut"
    assert len(text.splitlines()) < 700


def test_nothing_in_markdown_is_markup_but_ours(tmp_path: Path) -> None:
    tokens = MARKDOWN.parse(written(evil(), tmp_path, "md"))
    inside = [one for token in tokens for one in token.children or []]
    blocks = {"heading_open", "paragraph_open", "bullet_list_open", "list_item_open", "table_open", "thead_open", "tbody_open"}
    cells = {"tr_open", "th_open", "td_open"}
    assert {token.type for token in tokens if token.nesting == 1} == blocks | cells
    assert {token.type for token in tokens if token.nesting == 0} == {"inline"}
    assert {one.type for one in inside} <= {"text", "text_special", "code_inline", "softbreak"}
    names = {one.content for one in inside if one.type == "code_inline"}
    assert {plain(text).strip(" ") for text in EVIL} <= {name.strip(" ") for name in names}


def test_bare_addresses_in_markdown_become_no_links() -> None:
    assert sentence("see https://a.example or www.b.example") == "see https\\://a.example or www\\.b.example"


@given(st.text(min_size=1))
def test_code_holds_what_it_should(text: str) -> None:
    (inline,) = [token for token in MARKDOWN.parse(f"x {code(text)} y") if token.type == "inline"]
    held = [one for one in inline.children or [] if one.type != "text"]
    assert [one.type for one in held] == ["code_inline"]
    assert held[0].content.strip(" ") == plain(text).strip(" ")


@given(st.text(min_size=1))
@example("1. a list")
@example("2) another")
@example("12. a list")
@example("---")
@example("    code")
@example("- a list")
@example("+ a list")
@example("# a title")
@example("> said")
@example("a_b_c ~~no~~ *no*")
@example("&lt;b&gt; <b>")
def test_a_sentence_is_no_markup(text: str) -> None:
    tokens = MARKDOWN.parse(sentence(text))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    said = [one for token in tokens for one in token.children or []]
    assert {one.type for one in said} <= {"text", "text_special"}
    assert "".join(one.content for one in said) == plain(text).strip()


class Parsed(HTMLParser):
    """The tags of a page and what links anywhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.mark.parametrize("report", [sample(40), evil()], ids=["sample", "evil"])
def test_the_page_loads_nothing_and_runs_nothing_but_its_own(report: Report, tmp_path: Path) -> None:
    text = written(report, tmp_path, "html")
    page = Parsed(text)
    assert page.tags.count("script") == 2
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    links = {value for name, value in page.attributes if name in {"href", "src", "action"}}
    assert all(link.startswith("#") or link == "data:," for link in links)
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert style is not None
    assert script is not None
    policy = re.search(r'Policy" content="([^"]+)"', text)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    assert allowed.startswith("default-src 'none'; ")
    for kind, part in (("style", style[1]), ("script", script[1])):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in allowed
    assert not re.search(r"https?://(?!eu\.posthog\.com|evil\.example|www\.(example|w3))", text)


def test_the_page_tells_the_same_without_its_script(tmp_path: Path) -> None:
    report = sample(40)
    text = written(report, tmp_path, "html")
    body = text[: text.index('<script type="application/json"')]
    for word in ("Succeeded", "Unchanged", "Failed", "Unknown", "Skipped", report.command, *report.notes):
        assert word in body
    assert "at most <b>80</b> of 4,800 in any hour" not in body, "the two that were refused take no room"
    assert "at most <b>78</b> of 4,800 in any hour" in body
    assert "<b>2</b> refused" in body
    assert all(row.advice in body for row in report.rows if row.advice)


def test_what_is_unknown_comes_first(tmp_path: Path) -> None:
    report = sample(40)
    worst: dict[int, Status] = {20: "skipped", 21: "failed", 22: "failed", 30: "unknown"}
    rows = tuple(
        attrs.evolve(row, status=worst.get(place, "succeeded"), reason=None, advice="Look." if place in worst else None)
        for place, row in enumerate(report.rows)
    )
    page = Parsed(written(attrs.evolve(report, rows=rows), tmp_path, "html"))
    todo = [value for name, value in page.attributes if name == "class" and value.startswith("todo ")]
    assert todo == ["todo unknown", "todo failed", "todo skipped"]
    sections = [value for name, value in page.attributes if name == "id" and value in {"attention", "changes", "drift"}]
    assert sections == ["attention", "changes", "drift"]


def test_pages_of_reports_with_little_in_them(tmp_path: Path) -> None:
    empty = Report(title="An audit", command="aioposthog-env audit", started=datetime.now(UTC))
    assert "No environment was looked at." in written(empty, tmp_path, "html")
    whole = sample(5)
    without: list[dict[str, Any]] = [
        {"rows": ()},
        {"drift": ()},
        {"requests": ()},
        {"limits": ()},
        {"desired": {}},
        {"hosts": ()},
    ]
    for only in without:
        assert "</html>" in written(attrs.evolve(whole, **only), tmp_path, "html")
    assert "from what most have" in written(attrs.evolve(whole, desired={}), tmp_path, "html")


def test_a_page_of_2000_environments_that_have_nothing_in_common_is_below_3_mb(tmp_path: Path) -> None:
    report, long = sample(2000), "<ä>" * 100
    names = list(report.drift[0].values)
    changes = [ReportChange(setting=name, before=long, after=f"{long}{{}}") for name in names[:5]]
    rows = tuple(
        attrs.evolve(
            row,
            name=long,
            status="failed",
            error=f"{row.id}{long}",
            changes=tuple(attrs.evolve(change, before=f"{row.id}{long}") for change in changes),
        )
        for row in report.rows
    )
    drift = tuple(
        attrs.evolve(row, name=long, values={name: f"{row.id}{name}{long}" for name in names}) for row in report.drift
    )
    text = written(attrs.evolve(report, rows=rows, drift=drift), tmp_path, "html")
    assert len(text.encode()) < 3_000_000
    assert "Long values are cut" in text


@given(st.recursive(st.text() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_embedded_json_stays_in_its_block(value: object) -> None:
    text = embedded(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ("a", '"a"'), ("ä\u202e", '"ä�"'), ({"b": 1, "a": [2]}, '{"a": [2], "b": 1}')],
)
def test_values_are_shown_as_json(value: object, text: str) -> None:
    assert shown(value) == text  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["(secret)", "(another secret)", "(not shown)"])
def test_what_stands_for_a_value_is_shown_as_it_is(text: str) -> None:
    assert shown(text) == text


@given(st.lists(st.text(max_size=500)), st.integers(0, 20_000))
def test_texts_are_cut_until_there_is_room(texts: list[str], most: int) -> None:
    longest = room(texts, most)
    assert 4 <= longest <= 400
    assert sum(len(cut(text, longest)) for text in texts) <= max(most, 4 * len(texts))


def test_a_report_without_a_command_has_no_line_for_it(tmp_path: Path) -> None:
    for report, number in ((sample(3), 1), (attrs.evolve(sample(3), command=""), 0)):
        assert written(report, tmp_path, "html").count("Command: ") == number
        page = written(report, tmp_path, "md")
        assert ("\n`" in page.split("Started")[0]) == bool(number)
        assert "\n\n\nStarted" not in page


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_counted_once_is_no_plural(number: int, tmp_path: Path) -> None:
    whole = sample(3)
    page = written(attrs.evolve(whole, requests=whole.requests[:number]), tmp_path, "html")
    assert f"<b>{number}</b> request{'s' if number > 1 else ''}</span>" in page
    assert ("1 requests" in page) is False


@pytest.mark.parametrize("ending", ["html", "csv", "json", "md", "HTML"])
def test_a_path_that_can_be_written(ending: str, tmp_path: Path) -> None:
    check_report_path(tmp_path / f"run.{ending}")
    check_report_path(str(tmp_path / f"run.{ending}"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["run", "run.txt", "run.htm", "csv", "none/run.csv", "folder.csv"])
def test_a_path_that_cannot_be_written_is_told_before(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        check_report_path(tmp_path / name)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_report(sample(1), tmp_path / name)


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ConfigurationError, match="permission denied"):
        check_report_path(tmp_path / "run.csv")


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigurationError, match="cannot be written: No space left on device"):
        write_report(sample(200), tmp_path / "run.csv")


def test_a_page_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    check_report_path(tmp_path / "run.csv")
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'aioposthog-env[report]'")):
        check_report_path(tmp_path / "run.html")


@pytest.mark.parametrize("ending", ["html", "json", "csv", "md"])
def test_what_a_bulk_run_gave_is_written_as_it_is(ending: str, tmp_path: Path) -> None:
    bad = Outcome[None](ref=EnvironmentRef(2), status="failed", error=NotFoundError("gone", status=404))
    run = BulkReport((Outcome[None](ref=EnvironmentRef(1), status="succeeded"), bad), seconds=3.0)
    file = tmp_path / f"run.{ending}"
    write_report(run, file, host="https://eu.posthog.com")
    text = file.read_text()
    assert "gone" in text
    assert "https://eu.posthog.com" in text or ending == "md"
    write_report(run, file)
