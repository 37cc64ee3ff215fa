"""What ``export`` and ``audit`` do."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from aioposthog_env.bulk.beside import beside
from aioposthog_env.bulk.drift import OWN, drift, majority
from aioposthog_env.bulk.plan import differences
from aioposthog_env.bulk.selection import Selected
from aioposthog_env.cli import DONE, ERROR, PARTLY
from aioposthog_env.cli.app import Connection
from aioposthog_env.cli.choice import Choice, chosen
from aioposthog_env.cli.commands import connect
from aioposthog_env.cli.output import Output
from aioposthog_env.cli.reporting import Reporting
from aioposthog_env.environments import AsyncEnvironments
from aioposthog_env.errors import ConfigurationError
from aioposthog_env.models.converter import unstructure
from aioposthog_env.models.environment import Environment
from aioposthog_env.reports.rows import desired_to_show, drift_rows
from aioposthog_env.settings_file import SettingsFile, dump_settings

_HIDDEN: Final = "(secret)"


async def export(
    connection: Connection, ids: Sequence[int], choice: Choice, *, format: Literal["yaml", "json"], path: Path | None
) -> int:
    """Write settings to a file that ``plan --settings`` takes."""
    output = Output(json=connection.json)
    _check_place(path)
    async with connect(connection) as environments:
        selected = await chosen(environments, output, ids, choice)
        read, code = await _read(environments, output, selected, connection.concurrency)
    if not read and selected:
        return code
    text = dump_settings(read, format=format)
    if path is None:
        output.text(text.rstrip("\n"))
        return code
    try:
        with beside(path, text.encode()) as written:
            os.replace(written, path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}.") from None
    output.say(f"{len(read)} environments written to {path}.")
    return code


def _check_place(path: Path | None) -> None:
    """Before anything is asked, which may take minutes."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise ConfigurationError(f"{path} cannot be written: it is a folder, or its folder is not there.")


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
    for one in sorted(bad, key=lambda one: one.ref.id):
        output.say(f"{one.ref.id}: {one.error or one.reason}")
    return [known[id] for id in sorted(known)], DONE if not bad else PARTLY if known else ERROR


async def audit(connection: Connection, ids: Sequence[int], choice: Choice, *, policy: Path | None, report: Path | None) -> int:
    """Show where environments differ from a file, or from what most of them have."""
    output, reporting = Output(json=connection.json), Reporting(report, "Drift of settings")
    file = None if policy is None else SettingsFile.load(policy)
    async with connect(connection, hooks=reporting.hooks) as environments:
        reporting.host = environments.host
        selected = await chosen(environments, output, ids, choice)
        read, code = await _read(environments, output, selected, connection.concurrency)
        era = environments.era
    usual = majority(read) if file is None else {}
    wanted = {} if file is None else {one.id: file.desired(one) for one in read}
    if file is None:
        rows = [
            (each.id, each.name, one.name, *((_HIDDEN,) * 2 if one.sensitive else (one.value, one.usual)))
            for each in read
            for one in drift(each, usual)
        ]
    else:
        now = datetime.now(UTC)
        rows = [
            (each.id, each.name, change.name, *((_HIDDEN,) * 2 if change.sensitive else (change.before, change.after)))
            for each in read
            for change in differences(wanted[each.id], each, era, now).changes
        ]
    names = ("id", "name", "setting", "value", "usual" if file is None else "desired")
    if connection.json:
        for row in rows:
            output.line(dict(zip(names, row, strict=True)))
    else:
        output.table(names, [(*row[:3], *(msgspec.json.encode(value).decode() for value in row[3:])) for row in rows])
    said = f"{len({row[0] for row in rows})} of {len(read)} environments differ, in {len(rows)} settings."
    if len(read) < len(selected):
        said += f" {len(selected) - len(read)} could not be read."
    output.say(said)
    reporting.write(
        output,
        drift=drift_rows(
            read,
            reporting.host,
            usual,
            desired_of={id: unstructure(settings) for id, settings in wanted.items()},
            ignore=OWN,
        ),
        desired=desired_to_show(usual),
        notes=(said,),
    )
    return PARTLY if rows else code
