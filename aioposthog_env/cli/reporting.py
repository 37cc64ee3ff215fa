"""The report of a command, where one was asked for with ``--report``."""

import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aioposthog_env.bulk.outcome import BulkReport
from aioposthog_env.bulk.plan import Plan
from aioposthog_env.cli.output import Output
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports import DriftRow, Report, check_report_path, write_report
from aioposthog_env.reports.requests import RequestLog
from aioposthog_env.reports.rows import rows_of
from aioposthog_env.telemetry import Event, Hook


class Reporting:
    """Collects what a report shows while a command runs; does nothing where none was asked for.

    Args:
        path: Where to write it; None for no report.
        title: What it is about.

    Raises:
        ConfigurationError: It cannot be written there; told before anything is asked.
    """

    def __init__(self, path: Path | None, title: str) -> None:
        if path is not None:
            check_report_path(path)
        self._path = path
        self._title = title
        self._started = datetime.now(UTC)
        self._log = RequestLog()
        self.host = ""
        """The origin, known once there is a client."""

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """What the client is to call."""
        return () if self._path is None else (self._note,)

    def hooks_at(self, host: str) -> tuple[Hook, ...]:
        """What the client of one of several hosts is to call."""
        return () if self._path is None else (self._log.hook(host),)

    def _note(self, event: Event) -> None:
        self._log.hook(self.host)(event)

    def write(
        self,
        output: Output,
        report: BulkReport[Any] | None = None,
        *,
        hosts: tuple[str, ...] = (),
        names: Mapping[int, str] | None = None,
        plan: Plan | None = None,
        drift: tuple[DriftRow, ...] = (),
        desired: Mapping[str, JSONValue] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        """Write it."""
        if self._path is None:
            return
        made = Report(
            title=self._title,
            command=shlex.join(["aioposthog-env", *sys.argv[1:]]),
            started=self._started,
            seconds=(datetime.now(UTC) - self._started).total_seconds(),
            hosts=hosts or (self.host,),
            rows=() if report is None else rows_of(report, self.host, names, plan),
            drift=drift,
            desired=desired or {},
            requests=self._log.marks,
            notes=notes,
        )
        write_report(made, self._path)
        output.say(f"The report is {self._path}.")
