"""The report of a command, where one was asked for with ``--report``."""

import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from aioposthog_env.cli import ERROR
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.places import check_replaceable
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports import DriftRow, Report, ReportRow, check_report_path, write_report
from aioposthog_env.reports.requests import RequestLog
from aioposthog_env.telemetry import Hook


class Reporting:
    """Collects what a report shows while a command runs; does nothing where none was asked for.

    Args:
        path: Where to write it; None for no report.
        title: What it is about.
        elsewhere: Whether workers make the calls, of whose requests nothing is told here.

    Raises:
        ConfigurationError: It cannot be written there; told before anything is asked.
    """

    def __init__(self, path: Path | None, title: str, *, elsewhere: bool = False) -> None:
        if path is not None:
            check_report_path(path)
            check_replaceable(path)
        self._path = path
        self._title = title
        self._elsewhere = elsewhere
        self._started = datetime.now(UTC)
        self._log = RequestLog()

    def hooks_at(self, host: str) -> tuple[Hook, ...]:
        """What the client of one of several hosts is to call."""
        return () if self._path is None or self._elsewhere else (self._log.hook(host),)

    def write(
        self,
        output: Output,
        hosts: Iterable[str],
        code: int,
        *,
        rows: Iterable[ReportRow] = (),
        drift: Iterable[DriftRow] = (),
        desired: Mapping[str, JSONValue] | None = None,
        notes: tuple[str, ...] = (),
    ) -> int:
        """Write it, after everything else was said, since that may fail.

        Args:
            output: Where to say so.
            hosts: The origins that were asked.
            code: The exit code of the command.
            rows: What became of each environment.
            drift: The settings of each environment.
            desired: What is desired of all.
            notes: Anything else to know.

        Returns:
            The exit code; no success where the report could not be written.
        """
        if self._path is None:
            return code
        rows = tuple(rows)
        if self._elsewhere:
            attempts = sum(row.attempts for row in rows)
            notes = (*notes, f"Workers made the calls. Their requests are not charted here; the rows hold {attempts} attempts.")
        made = Report(
            title=self._title,
            command=shlex.join(["aioposthog-env", *sys.argv[1:]]),
            started=self._started,
            seconds=(datetime.now(UTC) - self._started).total_seconds(),
            hosts=tuple(dict.fromkeys(hosts)),
            rows=rows,
            drift=tuple(drift),
            desired=desired or {},
            requests=self._log.marks,
            notes=notes,
        )
        try:
            write_report(made, self._path)
        except ConfigurationError as error:
            output.say(str(error))
            return code or ERROR
        output.say(f"The report is {self._path}.")
        return code
