"""What is reported of each environment, made from what a run or an audit gave."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aioposthog_env.bulk.outcome import BulkReport, Outcome
from aioposthog_env.bulk.plan import FieldChange, Plan
from aioposthog_env.errors import OutcomeUnknownError
from aioposthog_env.models.comparing import SENSITIVE, digest, satisfies
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.reports.advice import advice_of
from aioposthog_env.reports.model import DriftRow, ReportChange, ReportRow
from aioposthog_env.reports.text import NOT_SHOWN, OTHER_SECRET, SECRET


def rows_of(
    report: BulkReport[Any], host: str, names: Mapping[int, str] | None = None, plan: Plan | None = None
) -> tuple[ReportRow, ...]:
    """What became of each environment of a run, by id. What the run only counted is not among it.

    Args:
        report: What the run gave.
        host: The origin that was asked.
        names: The environments' names by id; those that a plan or an outcome holds need not be given.
        plan: The plan that was applied, for what changed.
    """
    planned = {} if plan is None else {one.ref.id: one for one in plan}
    known = {id: one.name for id, one in planned.items()} | dict(names or {})
    changes = {id: tuple(map(_change, one.changes)) for id, one in planned.items()}
    rows = (_row(outcome, host, known, changes.get(outcome.ref.id, ())) for outcome in report)
    return tuple(sorted(rows, key=lambda row: row.id))


def _row(outcome: Outcome[Any], host: str, names: Mapping[int, str], changes: tuple[ReportChange, ...]) -> ReportRow:
    value = outcome.value
    return ReportRow(
        host=host,
        id=outcome.ref.id,
        name=names.get(outcome.ref.id) or (value.name if isinstance(value, Environment) else ""),
        status=outcome.status,
        reason=outcome.reason,
        error=_told(outcome),
        advice=advice_of(outcome),
        attempts=outcome.attempts,
        waited=outcome.waited,
        changes=changes,
    )


def _told(outcome: Outcome[Any]) -> str | None:
    if outcome.error is None:
        return None
    seen = outcome.error.observations if isinstance(outcome.error, OutcomeUnknownError) else ()
    return " ".join((str(outcome.error), *(one for one in seen if one not in str(outcome.error))))


def _change(change: FieldChange) -> ReportChange:
    if change.sensitive:
        before: JSONValue = NOT_SHOWN if change.digest is None else SECRET
        return ReportChange(setting=change.name, before=before, after=SECRET, sensitive=True)
    return ReportChange(setting=change.name, before=NOT_SHOWN if change.digest is None else change.before, after=change.after)


def drift_rows(
    environments: Iterable[Environment],
    host: str,
    desired: Mapping[str, JSONValue],
    *,
    desired_of: Mapping[int, Mapping[str, JSONValue]] | None = None,
    ignore: Collection[str] = (),
) -> tuple[DriftRow, ...]:
    """The settings of environments, for a report whose ``desired`` is ``desired_to_show(desired)``.

    A value that is as desired, though the server writes it in its own way, is given as desired. A sensitive one is given as
    ``(secret)`` where it is as desired or nothing is, else as ``(another secret)``.

    Args:
        environments: As they were read.
        host: The origin that was asked.
        desired: What is desired of all, as JSON; a sensitive setting as it is, or as its digest.
        desired_of: What is desired of single environments in place of that, by id.
        ignore: Settings that are left out.
    """
    rows = list[DriftRow]()
    for one in environments:
        alone: Mapping[str, JSONValue] = (desired_of or {}).get(one.id, {})
        wanted, values = {**desired, **alone}, unstructure(one.settings)
        rows.append(
            DriftRow(
                host=host,
                id=one.id,
                name=one.name,
                values={name: _held(name, value, wanted) for name, value in values.items() if name not in {"name", *ignore}},
                desired=desired_to_show(alone, ignore=ignore),
            )
        )
    return tuple(sorted(rows, key=lambda row: row.id))


def desired_to_show(desired: Mapping[str, JSONValue], *, ignore: Collection[str] = ()) -> dict[str, JSONValue]:
    """Desired settings without sensitive values."""
    return {name: _wanted(name, value) for name, value in sorted(desired.items()) if name not in {"name", *ignore}}


def _wanted(name: str, value: JSONValue) -> JSONValue:
    if name in SENSITIVE:
        return None if value in (None, digest(name, None)) else SECRET
    return value


def _held(name: str, value: JSONValue, wanted: Mapping[str, JSONValue]) -> JSONValue:
    if name in SENSITIVE:
        same = name not in wanted or wanted[name] == digest(name, value) or satisfies(name, wanted[name], value)
        if value is None:
            return None
        return SECRET if same else OTHER_SECRET
    return wanted[name] if name in wanted and satisfies(name, wanted[name], value) else value
