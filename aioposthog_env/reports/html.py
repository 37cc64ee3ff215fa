"""A report as one page that needs nothing else: no network, and no script to be read.

Style and script stand in the page, and its security policy allows these two and nothing more, by their digests. All text from
outside goes through the template's escaping, or into a block of JSON that cannot be ended from inside; the script puts it into
text nodes only. The page shows the opening of each long table by itself; the script pages, filters and groups the rest.
"""

import base64
import hashlib
from datetime import UTC
from importlib.resources import files
from typing import Final, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from aioposthog_env.bulk.outcome import Status
from aioposthog_env.reports.chart import HEIGHT, WIDTH, charts, duration
from aioposthog_env.reports.groups import attention_of, changes_of
from aioposthog_env.reports.matrix import matrix_of, to_page
from aioposthog_env.reports.model import Report
from aioposthog_env.reports.text import cut, embedded, plain, room, shown
from aioposthog_env.version import __version__

_ROOM_FOR_NAMES: Final = 250_000
_ROOM_FOR_VALUES: Final = 700_000
_MOST_CHANGES: Final = 5_000
_FEW: Final = 25
"""Rows of a long table that are there without the script."""


def to_html(report: Report) -> str:
    """The report as a page."""
    named = [(row.host, row.name) for row in report.rows] + [(row.host, row.name) for row in report.drift]
    longest_name = room((name for _, name in named), _ROOM_FOR_NAMES)
    hosts = list(dict.fromkeys([*report.hosts, *(host for host, _ in named)]))
    numbers = {host: number for number, host in enumerate(hosts)}
    values = {shown(value) for row in report.drift for value in row.values.values()}
    longest_value = room(values, _ROOM_FOR_VALUES)
    matrix = matrix_of(report, numbers, longest_value, longest_name) if report.drift else None
    statuses = list(get_args(Status))
    attention, changes = attention_of(report.rows), changes_of(report.rows)
    environments = [
        [numbers[row.host], row.id, cut(plain(row.name), longest_name), statuses.index(row.status), plain(row.reason or ""),
         row.attempts, round(row.waited, 1)]
        for row in report.rows
    ]  # fmt: skip
    data = {
        "hosts": [plain(host) for host in hosts],
        "statuses": statuses,
        "environments": environments,
        "attention": [one.errors for one in attention],
        "changes": [
            [one.setting, one.before, one.after, statuses.index(one.status), one.rows] for one in changes[:_MOST_CHANGES]
        ],
        "drift": None if matrix is None else to_page(matrix),
    }
    style, script = _part("page.css"), _part("page.js")
    return _TEMPLATES.get_template("page.html").render(
        report=report,
        started=report.started.astimezone(UTC),
        hosts=hosts,
        statuses=statuses,
        environments=environments,
        attention=attention,
        changes=changes,
        most_changes=_MOST_CHANGES,
        matrix=matrix,
        cut_short=any(len(value) > longest_value for value in values),
        charts=charts(report.requests, report.limits, report.seconds),
        chart_width=WIDTH,
        chart_height=HEIGHT,
        duration=duration,
        few=_FEW,
        version=__version__,
        style=Markup(style),  # noqa: S704  our own
        script=Markup(script),  # noqa: S704  our own
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        data=Markup(embedded(data)),  # noqa: S704  cannot end its block
    )


def _part(name: str) -> str:
    return files("aioposthog_env.reports").joinpath(name).read_text(encoding="utf-8")


def _digest(part: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"


def _plain(value: object) -> object:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_TEMPLATES: Final = Environment(
    loader=PackageLoader("aioposthog_env.reports", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_plain,
)
_TEMPLATES.filters["number"] = "{:,}".format
