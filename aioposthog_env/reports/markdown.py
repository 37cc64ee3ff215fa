"""A report as Markdown, for a ticket or a chat: what counts, at a length that one reads."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from aioposthog_env.reports.model import Report, ReportRow
from aioposthog_env.reports.text import code, sentence, shown

_MOST: Final = 200
"""Lines of a table; a ticket takes no more, and the other forms hold all."""
_PIPE: Final = "\\|"
"""In a table a pipe ends the cell, also inside code."""


def to_markdown(report: Report) -> str:
    """The report as Markdown with tables; long tables are cut, which is said."""
    lines = [f"# {sentence(report.title)}", "", *([code(report.command), ""] if report.command else [])]
    lines += [f"Started {report.started:%Y-%m-%d %H:%M:%S %Z}, took {report.seconds:,.1f} s."]
    lines += [f"Hosts: {', '.join(code(host) for host in report.hosts)}.", ""] if report.hosts else [""]
    lines += [f"* {sentence(note)}" for note in report.notes]
    for section in (_counts(report), _attention(report), _changes(report), _drift(report)):
        lines += ["", *section]
    return "\n".join(lines).rstrip() + "\n"


def _counts(report: Report) -> Iterator[str]:
    if report.rows:
        rows: list[tuple[str, str]] = [(status, str(count)) for status, count in report.counts.items()]
        if report.done_earlier:
            rows.insert(1, ("of them done earlier", str(report.done_earlier)))
        yield from _table(("status", "environments"), rows)


def _attention(report: Report) -> Iterator[str]:
    rows = [row for row in report.rows if row.needs_attention]
    if rows:
        yield from ("## What to do", "")
        columns = ("host", "environment", "name", "status", "error", "what to do")
        yield from _table(columns, [_what_to_do(row) for row in rows])


def _what_to_do(row: ReportRow) -> tuple[str, ...]:
    status = f"{row.status} ({row.reason})" if row.reason else row.status
    return code(row.host), str(row.id), code(row.name), sentence(status), sentence(row.error or ""), sentence(row.advice or "")


def _changes(report: Report) -> Iterator[str]:
    counted = Counter(
        (row.status, change.setting, shown(change.before), shown(change.after)) for row in report.rows for change in row.changes
    )
    if counted:
        yield from ("## Changes", "")
        yield from _table(
            ("setting", "before", "after", "status", "environments"),
            [
                (code(setting), code(before), code(after), status, str(count))
                for (status, setting, before, after), count in counted.most_common()
            ],
        )


def _drift(report: Report) -> Iterator[str]:
    if not report.drift:
        return
    differing = [(row, name) for row in report.drift for name in row.differing(report.desired)]
    yield from ("## Drift", "")
    environments = len({(row.host, row.id) for row, _ in differing})
    yield from (f"{environments} of {len(report.drift)} environments differ from what is desired.", "")
    yield from _table(
        ("host", "environment", "name", "setting", "is", "desired"),
        [
            (
                code(row.host), str(row.id), code(row.name), code(name), code(shown(row.values[name])),
                code(shown({**report.desired, **row.desired}[name])),
            )
            for row, name in differing
        ],
    )  # fmt: skip


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows[:_MOST]:
        yield f"| {' | '.join(item.replace('|', _PIPE) for item in row)} |"
    if len(rows) > _MOST:
        yield from ("", f"… and {len(rows) - _MOST:,} more.")
