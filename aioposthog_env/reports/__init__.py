"""Reports of runs and audits, for people who were not there: a page, CSV, JSON or Markdown.

``rows``, ``drift`` and ``requests`` make what is reported from the library's own objects, ``model`` holds it, and
``write_report`` writes it in the form that the file's ending names.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from aioposthog_env.bulk.atomic_write import check_target, replace_file
from aioposthog_env.bulk.outcome import BulkReport
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.reports.csv import to_csv
from aioposthog_env.reports.json import to_json
from aioposthog_env.reports.markdown import to_markdown
from aioposthog_env.reports.model import DriftRow, Report, ReportChange, ReportRow, RequestMark
from aioposthog_env.reports.rows import rows_of

__all__ = ["DriftRow", "Report", "ReportChange", "ReportRow", "RequestMark", "check_report_path", "write_report"]


def write_report(
    report: Report | BulkReport[Any], path: str | os.PathLike[str], *, host: str = "", plan: Plan | None = None
) -> None:
    """Write a report in the form that the file's ending names: ``.html``, ``.csv``, ``.json`` or ``.md``.

    The file is written whole, and only its owner can read it.

    Args:
        report: What a bulk run gave; or a ``Report``, which holds more, such as requests and drift.
        path: The file.
        host: The origin that was asked, as ``environments.host`` tells it. A ``Report`` holds its own.
        plan: The plan that was applied, for what changed. A ``Report`` holds that, too.

    Raises:
        ConfigurationError: As ``check_report_path`` says, or it cannot be written.
    """
    check_report_path(path)
    whole = report if isinstance(report, Report) else _of_run(report, host, plan)
    content = _FORMS[Path(path).suffix.lower()](whole)
    try:
        replace_file(Path(path), content.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigurationError(f"The report {os.fspath(path)} cannot be written: {error.strerror}.") from None


def _of_run(report: BulkReport[Any], host: str, plan: Plan | None) -> Report:
    return Report(
        title="A bulk run",
        command="",
        started=datetime.now(UTC) - timedelta(seconds=report.seconds),
        seconds=report.seconds,
        hosts=(host,) if host else (),
        rows=rows_of(report, host, plan=plan),
    )


def check_report_path(path: str | os.PathLike[str]) -> None:
    """See that a report could be written, before there is anything to report.

    Raises:
        ConfigurationError: Another ending, no such folder, a folder, a symbolic link, no permission; or a page without the
            extra ``report``.
    """
    file, form = Path(path), Path(path).suffix.lower()
    if form not in _FORMS:
        raise ConfigurationError(f"The report {file} cannot be written: its name ends in none of {', '.join(_FORMS)}.")
    if form == ".html" and find_spec("jinja2") is None:
        raise ConfigurationError("A report as a page needs the extra: pip install 'aioposthog-env[report]'.")
    if not file.parent.is_dir():
        raise ConfigurationError(f"The report {file} cannot be written: there is no folder {file.parent}.")
    if file.is_dir():
        raise ConfigurationError(f"The report {file} cannot be written: it is a folder.")
    try:
        check_target(file)
    except OSError as error:
        raise ConfigurationError(f"The report {file} cannot be written: {error.strerror}.") from None
    if not os.access(file.parent, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        raise ConfigurationError(f"The report {file} cannot be written: permission denied.")


def _to_html(report: Report) -> str:
    # The page alone needs the extra.
    from aioposthog_env.reports.html import to_html

    return to_html(report)


_FORMS: Final[dict[str, Callable[[Report], str]]] = {
    ".html": _to_html,
    ".csv": to_csv,
    ".json": to_json,
    ".md": to_markdown,
}
