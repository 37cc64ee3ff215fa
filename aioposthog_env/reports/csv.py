"""A report as CSV: a line for each environment, or one for each of its settings that changed or differs."""

import csv
import io
from collections.abc import Iterator
from typing import Final

from aioposthog_env.reports.model import Report
from aioposthog_env.reports.text import cell, shown

COLUMNS: Final = (
    "host", "environment", "name", "status", "reason", "error", "advice", "attempts", "waited", "setting", "before", "after",
)  # fmt: skip


def to_csv(report: Report) -> str:
    """The report as CSV. The status of a line of an audit is ``differs`` or ``as desired``."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for line in _lines(report):
        writer.writerow([cell(str(item)) for item in line])
    return file.getvalue()


def _lines(report: Report) -> Iterator[tuple[object, ...]]:
    for row in report.rows:
        told = (row.status, row.reason or "", row.error or "", row.advice or "", row.attempts, f"{row.waited:.3f}")
        changes = [(change.setting, shown(change.before), shown(change.after)) for change in row.changes]
        for change in changes or [("", "", "")]:
            yield (row.host, row.id, row.name, *told, *change)
    for one in report.drift:
        wanted = {**report.desired, **one.desired}
        differing = [(name, shown(one.values[name]), shown(wanted[name])) for name in one.differing(report.desired)]
        status = "differs" if differing else "as desired"
        for difference in differing or [("", "", "")]:
            yield (one.host, one.id, one.name, status, "", "", "", "", "", *difference)
