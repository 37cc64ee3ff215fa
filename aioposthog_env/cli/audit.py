"""What ``export`` and ``audit`` do."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import attrs
import msgspec

from aioposthog_env.api.era import Era
from aioposthog_env.bulk.atomic_write import replace_file
from aioposthog_env.bulk.drift import OWN, drift, majority
from aioposthog_env.bulk.plan import differences
from aioposthog_env.bulk.selection import Selected
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.arguments import Choice, Connection
from aioposthog_env.cli.choice import chosen, names_ids
from aioposthog_env.cli.connect import connect
from aioposthog_env.cli.failures import what_failed
from aioposthog_env.cli.hosts import ask_each
from aioposthog_env.cli.output import Output, check_place
from aioposthog_env.cli.places import check_apart, check_replaceable
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.models.fields import JSONValue
from aioposthog_env.plural import counted
from aioposthog_env.reports import DriftRow
from aioposthog_env.reports.rows import desired_to_show, drift_rows
from aioposthog_env.settings_file import SettingsFile, dump_settings

_HIDDEN: Final = "(secret)"


async def export(
    connection: Connection, ids: Sequence[int], choice: Choice, *, format: Literal["yaml", "toml", "json"], path: Path | None
) -> int:
    """Write settings to a file that ``plan --settings`` takes."""
    output = Output(json=connection.json)
    check_place(path)
    check_apart(ids=choice.ids_from, output=path)
    check_replaceable(path)
    async with connect(connection) as environments:
        selected = await chosen(environments, output, ids, choice)
        read, code = await _read(environments, output, selected, connection.concurrency)
    if not read and selected:
        return code
    text = dump_settings(read, format="json" if connection.json else format)
    if path is None:
        output.document(text.rstrip("\n"))
        return code
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    output.say(f"{counted(len(read), 'environment')} written to {path}.")
    return code


async def _read(
    environments: AsyncEnvironments, output: Output, selected: Sequence[Selected], concurrency: int
) -> tuple[list[Environment], int]:
    """The environments by id, and the exit code as far as reading goes. Says which could not be read.

    Those that a condition has read already are not read again.
    """
    known = {one.ref.id: one.environment for one in selected if one.environment is not None}
    missing = [one.ref for one in selected if one.ref.id not in known]
    report = await environments.each(missing, concurrency=concurrency).retrieve()
    known |= {one.ref.id: one.value for one in report if one.value is not None}
    bad = [one for one in report if one.value is None]
    for line in what_failed(bad):
        output.say(line)
    return [known[id] for id in sorted(known)], DONE if not bad else PARTLY if known else ERROR


async def audit(
    connection: Connection,
    ids: Sequence[int],
    choice: Choice,
    *,
    policy: Path | None,
    allow_env: Sequence[str],
    report: Path | None,
) -> int:
    """Show where environments differ from a file, or from what most of them have."""
    check_apart(policy=policy, ids=choice.ids_from, report=report)
    output, reporting = Output(json=connection.json), Reporting(report, "Drift of settings")
    file = None if policy is None else SettingsFile.load(policy, allow_env=allow_env)

    async def look(environments: AsyncEnvironments) -> _Audited:
        environments = environments.with_options(hooks=reporting.hooks_at(environments.host))
        selected = await chosen(environments, output, ids, choice)
        read, code = await _read(environments, output, selected, connection.concurrency)
        return _Audited(environments.host, environments.era, len(selected), read, code)

    answers = await ask_each(connection, output, look, by_id=names_ids(ids, choice))
    audited = answers.by_profile
    read = [one for each in audited.values() for one in each.read]
    usual = majority(read) if file is None else {}
    rows = [
        (*((profile,) if answers.several else ()), *row)
        for profile, each in audited.items()
        for row in _rows(each, file, usual)
    ]
    names = (
        *(("profile",) if answers.several else ()),
        "id",
        "name",
        "setting",
        "value",
        "usual" if file is None else "desired",
    )
    if connection.json:
        for row in rows:
            output.line(dict(zip(names, row, strict=True)))
    else:
        output.table(names, [(*row[:-2], *(msgspec.json.encode(value).decode() for value in row[-2:])) for row in rows])
    differing = len({row[:-4] + row[-4:-3] for row in rows})
    said = f"{differing} of {len(read)} environments differ, in {counted(len(rows), 'setting')}."
    if unread := sum(each.selected for each in audited.values()) - len(read):
        said += f" {unread} could not be read."
    output.say(said)
    code = PARTLY if rows or answers.code or any(each.code for each in audited.values()) else DONE
    if audited and all(each.code == ERROR for each in audited.values()):
        code = ERROR
    return reporting.write(
        output,
        [each.host for each in audited.values()],
        code,
        drift=[row for each in audited.values() for row in _report_rows(each, file, usual)],
        desired=desired_to_show(usual),
        notes=(said,),
    )


@attrs.frozen
class _Audited:
    """What was read at one host."""

    host: str
    era: Era
    selected: int
    read: list[Environment]
    code: int


def _rows(audited: _Audited, file: SettingsFile | None, usual: Mapping[str, JSONValue]) -> list[tuple[object, ...]]:
    """Id, name, setting, value, and what is usual or desired, for each difference."""
    if file is None:
        return [
            (each.id, each.name, one.name, *((_HIDDEN,) * 2 if one.sensitive else (one.value, one.usual)))
            for each in audited.read
            for one in drift(each, usual)
        ]
    now = datetime.now(UTC)
    return [
        (each.id, each.name, change.name, *((_HIDDEN,) * 2 if change.sensitive else (change.before, change.after)))
        for each in audited.read
        for change in differences(file.desired(each), each, audited.era, now).changes
    ]


def _report_rows(audited: _Audited, file: SettingsFile | None, usual: Mapping[str, JSONValue]) -> tuple[DriftRow, ...]:
    wanted = {} if file is None else {one.id: unstructure(file.desired(one)) for one in audited.read}
    return drift_rows(audited.read, audited.host, usual, desired_of=wanted, ignore=OWN)
